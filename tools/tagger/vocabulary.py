"""Words of the made captions that the tagger is trained on, beside the treebank. Own lists."""

from __future__ import annotations

NOUNS = """
cat dog horse cow sheep pig goat rabbit hare fox wolf bear lion tiger leopard elephant giraffe zebra monkey
gorilla panda koala kangaroo deer moose squirrel chipmunk hedgehog mouse rat hamster beaver otter seal
walrus whale dolphin shark octopus squid crab lobster shrimp fish goldfish salmon turtle tortoise frog toad
lizard gecko iguana crocodile snake dragon dinosaur bird owl eagle hawk falcon crow raven pigeon dove
sparrow robin parrot peacock penguin flamingo swan goose duck duckling chicken hen rooster turkey seagull
heron pelican bat bee wasp ant beetle ladybug butterfly moth dragonfly spider snail worm caterpillar puppy
kitten foal lamb calf corgi poodle husky beagle man woman boy girl child baby person toddler teenager lady
gentleman king queen prince princess knight wizard witch pirate sailor soldier astronaut robot alien zombie
ghost vampire mermaid fairy elf dwarf giant monster angel demon samurai ninja viking cowboy chef cook baker
waiter farmer gardener fisherman hunter painter artist sculptor musician drummer guitarist violinist pianist
singer dancer ballerina actor clown magician teacher student doctor nurse scientist engineer mechanic
plumber carpenter builder firefighter policeman judge lawyer monk priest nun bride groom mother father
grandmother grandfather uncle aunt sister brother cyclist runner swimmer surfer skier skater climber hiker
player goalkeeper boxer driver pilot captain tourist passenger shopkeeper librarian barista bartender
butcher tailor blacksmith potter car truck van bus taxi tram train locomotive bicycle bike motorcycle
scooter skateboard wagon cart carriage tractor bulldozer crane boat ship sailboat yacht canoe kayak raft
submarine ferry plane airplane jet helicopter balloon rocket spaceship satellite drone wheel tire engine
house cottage cabin hut barn castle palace tower lighthouse windmill church temple mosque cathedral
monastery bridge tunnel dam fountain statue monument building skyscraper apartment hotel restaurant cafe
bakery shop store market library museum school hospital factory station airport harbor port garage shed
stable greenhouse tent igloo street road alley sidewalk path highway square plaza park garden courtyard yard
field meadow farm orchard vineyard forest jungle desert beach island mountain hill cliff canyon valley cave
volcano glacier river stream waterfall lake pond sea ocean wave shore coast sky cloud sun moon star planet
galaxy rainbow storm lightning rain snow ice fog mist smoke fire flame kitchen bedroom bathroom room hall
lobby office classroom studio workshop attic basement balcony terrace porch roof wall floor ceiling door
window gate fence stairs staircase ladder chimney fireplace table desk chair stool bench sofa couch armchair
bed crib pillow blanket curtain carpet rug lamp lantern candle chandelier mirror clock picture painting
poster frame shelf bookshelf cabinet cupboard drawer wardrobe chest trunk box crate barrel basket bucket bag
backpack suitcase purse wallet key lock chain rope ribbon string button needle thread scissors knife fork
spoon plate bowl cup mug glass bottle jar jug pitcher vase pot pan kettle teapot tray oven stove toaster
refrigerator microwave blender sink faucet bathtub shower toilet towel soap brush comb toothbrush broom mop
vacuum hammer saw drill wrench screwdriver nail shovel rake axe hoe wheelbarrow hose book notebook newspaper
magazine letter envelope stamp pen pencil crayon eraser ruler map globe compass telescope microscope camera
phone smartphone laptop computer keyboard monitor screen television radio speaker headphones microphone
guitar violin cello piano drum trumpet flute saxophone harp ball football basketball baseball racket net
goal kite doll toy puzzle dice card chess chessboard trophy medal flag umbrella sunglasses glasses hat cap
helmet crown scarf glove mitten coat jacket sweater hoodie shirt t-shirt blouse dress skirt suit tie vest
apron robe kimono cape cloak jeans pants trousers shorts sock shoe boot sandal sneaker slipper belt ring
necklace bracelet earring watch mask armor sword shield spear bow arrow gun cannon hair beard mustache eye
face nose mouth ear hand finger arm leg foot tail wing feather fur horn antler claw paw beak fin scale shell
apple pear orange lemon lime banana grape strawberry cherry peach plum mango pineapple coconut watermelon
melon kiwi tomato potato carrot onion garlic pepper cucumber lettuce cabbage broccoli cauliflower mushroom
pumpkin corn bean pea bread loaf bun croissant bagel pretzel cake cupcake pie cookie donut muffin pancake
waffle sandwich burger pizza pasta noodle rice soup salad steak sausage bacon egg cheese butter milk cream
yogurt honey jam sugar salt coffee tea latte juice wine beer cocktail water lemonade chocolate candy
lollipop popcorn tree palm oak pine willow bush hedge flower rose tulip daisy sunflower lily orchid lotus
poppy cactus fern moss grass leaf branch log stump root seed acorn nut pebble rock stone boulder sand
crystal gem diamond pearl coin ticket sign billboard bollard hydrant mailbox dumpster trashcan cone barrier
rail track platform pier dock anchor sail mast oar hook pole wire cable pipe brick plank wheelchair stroller
cradle nest cage kennel aquarium bowtie badge tattoo scar freckle steam dust shadow reflection puddle
footprint snowman scarecrow gargoyle puppet mannequin bust portrait mural graffiti dough whisk rolling-pin
spatula ladle bauble ornament wreath stocking gift present parcel package luggage dish crumb
"""

PLURAL_ONLY = (
    "people glasses scissors jeans pants trousers shorts stairs headphones clothes children men women"
)

VERBS = """
sit:sat:sat stand:stood:stood lie:lay:lain hold:held:held wear:wore:worn ride:rode:ridden run:ran:run walk
play eat:ate:eaten drink:drank:drunk fly:flew:flown jump look sleep:slept:slept watch chase carry
drive:drove:driven read:read:read hang:hung:hung float swim:swam:swum climb catch:caught:caught kick
throw:threw:thrown pull push lean rest smile sniff bark graze cross chew hug kiss meet:met:met
fight:fought:fought use stare gaze surround cover sip bat loom park mix stir pour bake cook fry boil
cut:cut:cut slice chop peel wash clean sweep:swept:swept scrub wipe dry iron fold sew knit weave:wove:woven
stitch paint draw:drew:drawn sketch write:wrote:written carve sculpt build:built:built fix repair hammer saw
drill weld dig plant water pick harvest feed:fed:fed milk groom shear brush comb braid wrap unwrap open
close lock unlock knock  answer call whisper shout scream laugh cry weep:wept:wept
sing:sang:sung dance juggle perform conduct bow wave point nod shake:shook:shaken greet welcome guide
lead:led:led follow hunt stalk pounce leap hop skip crawl creep:crept:crept slither glide soar hover dive
perch land nest hatch swoop peck gallop trot race sprint jog march stroll wander hike ski skate surf row
paddle sail steer fish cast:cast:cast reel splash drip spill leak flow rise:rose:risen set:set:set
shine:shone:shone glow sparkle glitter flicker burn blaze smoke melt freeze:froze:frozen fall:fell:fallen
drop tumble slide:slid:slid slip trip crash collide hit:hit:hit strike:struck:struck punch block guard
protect defend attack shoot:shot:shot aim toss bounce roll spin:spun:spun swing:swung:swung balance lift
raise lower drag haul load unload stack pile fill empty pack unpack deliver send:sent:sent
bring:brought:brought take:took:taken give:gave:given offer receive share buy:bought:bought sell:sold:sold
pay:paid:paid count weigh measure examine inspect study teach:taught:taught learn explain show display
present reveal hide:hid:hidden peek peer glance observe notice see:saw:seen find:found:found lose:lost:lost
search touch pet stroke pat tickle squeeze grab grip clutch cling:clung:clung cuddle snuggle nap doze dream
wake:woke:woken yawn stretch kneel:knelt:knelt crouch squat bend:bent:bent twist turn face approach enter
leave:left:left exit pass reach arrive wait queue gather meet join separate divide tie untie attach connect
support frame line border flank overlook tower dominate crowd dot litter decorate adorn illuminate light
reflect contain feature include depict capture portray need want love admire adore ignore scare frighten
surprise bite:bit:bitten lick nibble gnaw swallow taste smell howl roar growl purr meow chirp croak buzz hum
whistle rub scratch itch lay:laid:laid keep:kept:kept make:made:made do:did:done have:had:had go:went:gone
come:came:come get:got:got put:put:put serve hand type press tap click photograph film record browse
grow:grew:grown bloom wither sprout spread:spread:spread blow:blew:blown drift scatter chatter talk
speak:spoke:spoken argue debate pray meditate exercise train practice compete celebrate toast cheer clap
applaud parade patrol explore travel visit camp picnic relax sunbathe dock moor consist depend belong remain
appear seem become:became:become begin:began:begun stop start move roam hurry rush stumble limp hobble
shuffle tiptoe wade sink:sank:sunk emerge erupt explode burst crumble decay rot rust fade vanish arise
tremble shiver sweat blush frown grin smirk wink blink squint snore sneeze cough breathe swear teach cheat
steal:stole:stolen rob smuggle hide invade conquer ambush besiege salute command order beg plead promise
deny admit confess complain sigh moan groan giggle chuckle snicker tease mock insult threaten warn rescue
save heal cure bandage nurse tend mend patch polish buff sand varnish plaster tile pave mow trim prune weed
rake sow plough plow till harrow thresh grind:ground:ground knead whip beat whisk grate grill roast steam
simmer garnish season sprinkle drizzle spread dip dunk haggle bargain barter trade auction sort arrange
organize tidy dust vacuum mop rinse soak wring preen moult forage burrow tunnel hibernate migrate flutter
flap circle swarm sting:stung:stung coil slink prowl lurk maul devour gulp guzzle slurp munch crunch chomp
nuzzle cradle shoulder strap buckle lace fasten button zip unzip crease hem crochet dye stamp seal engrave
etch forge cast mould mold solder rivet bolt screw nail glue tape staple pin clip hook latch
"""

ADJECTIVES = """
red green blue yellow orange purple pink brown black white gray grey violet turquoise golden silver teal
beige crimson scarlet navy cream pale dark bright light big small large little tiny huge giant enormous
massive tall short long wide narrow thin thick fat slim round square flat curved straight young old new
ancient modern vintage antique rusty dusty dirty clean shiny matte glossy wet dry hot cold warm cool frozen
fresh ripe rotten raw cooked soft hard smooth rough sharp dull fluffy furry hairy curly spiky striped
spotted checkered plaid floral wooden metal plastic ceramic happy sad angry calm sleepy tired hungry thirsty
bored excited scared brave proud shy lonely friendly fierce gentle wild tame cute pretty beautiful handsome
ugly elegant fancy simple plain ornate colorful vibrant transparent translucent empty full open closed
broken cracked torn worn lush leafy snowy sunny cloudy stormy foggy misty rainy windy sandy rocky grassy
muddy crowded busy quiet noisy peaceful abandoned ruined medieval futuristic steampunk cyberpunk gothic
victorian baroque tropical magical mystical mysterious majestic strange weird bizarre surreal funny playful
cozy comfortable luxurious expensive cheap famous royal holy sacred bald bearded blonde muscular chubby
slender elderly japanese french italian chinese african american mexican persian siamese serene tranquil
rustic whimsical dramatic moody quaint lively vivid gloomy eerie spooky ethereal delicate graceful mighty
lone single rare unique intricate detailed faded shabby tattered weathered polished shimmering gigantic
tall-masted slanted tilted upright hollow solid spare sturdy fragile flimsy loose tight heavy gaunt plump
skinny stout burly stern cheerful joyful gleeful grumpy sleek wiry wrinkled toothless barefoot naked woolen
silken velvety creamy crispy juicy spicy salty bitter sour sweet fragrant smoky steaming frosty icy chilly
humid dim dusky radiant luminous glowing gleaming neon iridescent metallic stony earthen thatched cobbled
paved winding steep shallow deep distant nearby remote rural urban coastal alpine arctic local foreign
"""

ADVERBS = """
slowly quickly quietly happily sadly gently carefully softly brightly calmly peacefully together alone
nearby outside inside away upside closely gracefully eagerly proudly lazily intently playfully high low very
slightly
"""

PREPOSITIONS = (
    "in on at under over behind beside near above below by through against across around into from with "
    "toward between along inside outside atop beneath underneath among past onto off"
).split()

LONG_PREPOSITIONS = ("next to", "in front of", "on top of", "to the left of", "to the right of", "out of")
