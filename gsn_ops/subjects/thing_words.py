"""Nouns by what they name: abstract matters, places, parts of bodies and things, clothes."""

from __future__ import annotations

from .word_lists import words_of

MEASURES = words_of(
    "variations variation variants versions group groups pair pairs bunch set lot lots couple variety "
    "herd flock crowd pile piles stack stacks row rows number kind type piece pieces side sides top "
    "front middle midst center centre rest part edge edges corner slice slices array series collection "
    "style background foreground depth back rear tip end ends bottom rim verge heart base sense feeling "
    "form sort range mix mixture assortment handful dozen dozens hundreds thousands duo trio quartet "
    "swarm heap line lines layer layers plenty touch hint bit view distance midground left right beauty "
    "sight sides surface clump cluster string pinch drop drops edge school pack pride litter column "
    "caravan fleet look"
)
"""Before "of": a number, a shape or a place of what follows."""
NOT_THINGS = words_of(
    "yoga karate ballet background foreground midground lighting style quality resolution detail "
    "details focus depth bokeh atmosphere mood composition perspective viewer viewers camera night day "
    "daytime nighttime morning noon afternoon evening sunset sunrise dawn dusk time way distance "
    "weather photography realism texture textures contrast color colors colour colours render wallpaper "
    "anime masterpiece front top left right side sides middle center centre bottom back corner edge "
    "edges rest solo score source rating artstation trending hdr uhd hd highres absurdres lowres nsfw "
    "sfw watermark signature film grain bit vector unreal engine octane dslr canon nikon lens aperture "
    "shutter iso blur exposure hour hours smile blush simple front-view other others winter summer "
    "autumn spring season year years decade century month week midst grace walk beauty sense feeling "
    "feelings wonder thought thoughts love joy sadness anger fear peace calm chaos hope attention "
    "action motion movement place position direction north south east west northeast northwest "
    "southeast southwest air midair background-blur look looks glance gaze pose poses expression "
    "expressions emotion emotions vibe vibes energy power strength speed nature life death world "
    "reality memory memories dream dreams idea concept theme story tale moment moments scene ambiance "
    "ambience serenity tranquility harmony balance elegance charm magic mystery adventure nostalgia "
    "loneliness solitude silence noise sound sounds fun play work job sleep rest-of something someone "
    "anything everything nothing everyone anyone thing things stuff kind type sort lot lots number "
    "amount size shape form height width length weight age front-row use purpose example prompt text "
    "words word caption title letter-size inscription fashion manner scale hues hue tone tones palette "
    "shade shades element elements aspect aspects feature features area areas viewpoint point vantage "
    "lookout-view silhouette-style progress process contest winner effect effects total half halves "
    "wind addition contrast order line-of-sight row rows middle-ground sake course conversation talk "
    "chat discussion game-play tonight today tomorrow yesterday midnight midday twilight sunlight "
    "moonlight daylight lights-out glow brightness darkness shine warmth coldness heat style-of "
    "minimalism surrealism steampunk cyberpunk fantasy sci-fi horror ratio version name rescue fight "
    "attempt trip journey vacation holiday sunset-time rush hurry deal sale duty pain sorrow "
    "sunlight-rays disbelief amazement surprise excitement delight awe pride shame envy anticipation "
    "despair pleasure space softbox greens blues reds browns yellows greys grays whites blacks pinks "
    "purples pastels flight future past art letterbox distortion first second third fourth fifth "
    "stories tales secrets jokes news gossip slogan message phrase quote quotes client customer "
    "customers angle angles level levels format formats vignette noise grading tilt flash sight notice "
    "request requests thanks battle advance blog event occasion outline order orders afternoon-light "
    "thirds proportions anatomy view views overall foreground-object aesthetic aesthetics orientation "
    "mode"
)
"""Nouns that name nothing to be seen in one place of an image."""
PLACES = words_of(
    "kitchen bedroom bathroom room living-room hall hallway lobby office classroom studio workshop "
    "attic basement balcony terrace porch library museum school hospital factory station airport harbor "
    "harbour port garage market store shop supermarket restaurant cafe bar pub street streets road "
    "alley alleyway sidewalk path highway square plaza park garden courtyard yard backyard field fields "
    "meadow farm farmyard orchard vineyard forest woods jungle desert beach island mountain mountains "
    "hill hills hillside cliff cliffs canyon valley cave landscape countryside village town city "
    "cityscape skyline suburb river stream waterfall lake pond sea ocean shore coast coastline sky "
    "skies cloud clouds sun moon star stars galaxy storm rain snow mist fog haze smoke dust sunlight "
    "wall walls roof floor ground ceiling window windows grass glade clearing playground stadium arena "
    "stage stall counter shelf shelves windowsill carpet rug tiles pavement cobblestones surface "
    "backdrop environment interior exterior pier dock rooftop ruins corridor tunnel savanna swamp marsh "
    "tundra prairie dunes sand mud horizon space cosmos universe world planet mall warehouse attic "
    "cellar neighborhood neighbourhood district crossroads intersection table desk bench diner "
    "barbershop bakery greenhouse forge stable stables courtroom tavern party picnic festival parade "
    "pass ring-road rainforest"
)
"""Where things are: after them when there are too many."""
PARTS = words_of(
    "hair eye eyes face faces head heads nose mouth lips lip ear ears cheek cheeks chin forehead "
    "eyebrow eyebrows eyelashes beard mustache moustache freckles freckle skin neck shoulder shoulders "
    "arm arms elbow hand hands finger fingers fist fists chest belly stomach back waist hip hips leg "
    "legs knee knees foot feet toe toes tooth teeth tongue tail tails wing wings paw paws claw claws "
    "fur feather feathers mane horn horns antler antlers beak fin fins scale scales hoof hooves "
    "whiskers muzzle snout braid braids ponytail ponytails twintails pigtails bangs curls locks "
    "wrinkles scar scars tattoo tattoos makeup lipstick smile gaze body shadow shadows reflection "
    "reflections silhouette edge edges side sides surface rim tip handle lid leaf-edge bow stern roof "
    "bark stem petal petals leg legs icing frosting ceiling ceilings nails nail lap palm shadow "
    "complexion features expression muscles abs thighs torso breast breasts eyelids pupils fangs tusk "
    "tusks trunk stubble hairstyle"
)
ALSO_PARTS = words_of("chest trunk bow horn shell handle lid skin roof ring tie fan bun")
"""Parts of something if they are its own ("his chest"), else things."""
CLOTHES = words_of(
    "suspenders shirt t-shirt tshirt tee blouse dress gown skirt suit tie bowtie vest apron robe robes "
    "kimono cape cloak coat jacket sweater sweaters hoodie cardigan jeans pants trousers shorts "
    "leggings stockings sock socks shoe shoes boot boots sandal sandals sneakers slippers heels belt "
    "scarf scarves glove gloves mitten mittens hat hats cap caps beanie helmet crown tiara veil hood "
    "mask glasses sunglasses goggles earring earrings necklace bracelet ring rings jewelry jewellery "
    "collar bandana headband ribbon ribbons bow bows uniform costume outfit clothes clothing attire "
    "armor armour gauntlets pajamas pyjamas swimsuit bikini underwear thighhighs tights sleeves sleeve "
    "buttons button pocket pockets zipper lace turtleneck poncho sari turban monocle eyepatch "
    "wristwatch watch pendant brooch cufflinks overalls jumpsuit blazer tuxedo raincoat headscarf parka "
    "parkas sweatshirt tracksuit scrubs smock tutu nightgown undershirt waistcoat"
)
PERSONS = words_of(
    "man men woman women boy boys girl girls child children kid kids baby babies person people couple "
    "lady gentleman guy friend friends father mother king queen prince princess knight wizard witch"
)


CONCRETE = words_of(
    "city harness witness wilderness lioness governess business fitness university identity deity "
    "entity community facility celebrity security electricity cavity trinity"
)
"""Nouns in -ness and -ity that can be seen."""
PURPOSES = words_of(
    "movie film kids children phone desktop story exhibition festival conference social blog post shop "
    "company website site cover magazine book presentation article campaign brand app game business "
    "newsletter channel profile instagram facebook youtube podcast project client album single event "
    "flyer menu packaging product product-page slide slides homepage banner invitation wedding birthday "
    "card cards calendar"
)
"""Behind "for": what the image is made for."""
GENERIC = words_of(
    "animal animals figure figures subject subjects character characters pair duo couple trio group "
    "object objects creature creatures individual individuals person people two three four item items "
    "being beings"
)
"""After "the": what was named before."""


ANIMATE = PERSONS | words_of(
    "cat cats dog dogs puppy puppies kitten kittens horse horses pony cow cows bull ox oxen sheep lamb "
    "goat goats pig rabbit hare fox foxes wolf wolves bear bears panda lion tiger leopard cheetah "
    "elephant giraffe zebra monkey ape gorilla kangaroo koala deer stag moose squirrel chipmunk "
    "hedgehog mouse mice rat hamster beaver otter badger mole seal walrus whale dolphin shark fish "
    "octopus crab turtle tortoise frog toad lizard snake crocodile dinosaur dragon bird birds owl eagle "
    "hawk falcon crow raven pigeon pigeons dove sparrow parrot peacock penguin flamingo swan goose "
    "geese duck ducks duckling ducklings chicken hen rooster turkey gull seagull pelican heron stork "
    "bat spaniel terrier beagle corgi poodle husky retriever collie hound stallion mare foal calf camel "
    "llama donkey robot robots android cyborg alien aliens ghost zombie vampire mermaid fairy elf dwarf "
    "dwarves gnome troll orc giant monster angel demon unicorn phoenix yeti samurai ninja viking cowboy "
    "pirate astronaut astronauts student nurse chef cook monk nun bride groom grandmother grandfather "
    "mother father son daughter brother sister uncle aunt twins crowd family warrior soldier soldiers "
    "archer squire butler shepherd blacksmith mechanic judge guard guards clown pilot captain waiter "
    "waitress witch wizard sorceress priest athlete hero heroine villain tourist toddler teenager teen "
    "boy adult adults senior spectators students players workers dancers musicians apprentice coach "
    "referee parents parent merchants merchant commuters guest guests crew groom bridesmaid toddlers "
    "twins triplets passenger passengers pedestrian pedestrians monk scribe jester minstrel thief nanny "
    "veteran fairy fairies mermaids troll ogre golem demon ant ants bee bees wasp beetle beetles "
    "ladybug butterfly butterflies moth moths dragonfly spider spiders snail snails worm worms scorpion "
    "firefly fireflies eel eels salmon trout koi goldfish jellyfish starfish lobster lobsters shrimp "
    "stingray manta dachshund chihuahua pug bulldog labrador dalmatian greyhound coyote jackal hyena "
    "lynx jaguar panther cougar puma hippo rhino antelope gazelle bison buffalo yak boar hog piglet "
    "moose sloth lemur meerkat raccoon skunk possum weasel ferret toucan macaw macaws cockatoo canary "
    "robin wren swallow swallows starling starlings woodpecker hummingbird ostrich emu vulture osprey "
    "kingfisher puffin seagulls iguana chameleon gecko newt salamander"
)
MADE_THINGS = words_of(
    "flower tower water paper river corner counter computer mirror door floor motor tractor letter "
    "poster butter ladder lantern hammer banner burger helicopter scooter cracker trailer container "
    "boiler toaster blender printer cooler speaker locker drawer monitor radiator projector calculator "
    "elevator refrigerator timber lumber rubber leather feather weather summer winter number finger "
    "shoulder powder pepper ginger cucumber sweater slipper sneaker roller stroller planter holder "
    "silver copper cover border quarter altar cellar pillar collar dinner supper chamber theater metal "
    "armor color harbor mortar sugar cedar guitar zipper shutter gutter crater glacier layer tier pier "
    "meter filter amber ember timer folder binder marker eraser ruler sticker flyer trigger laser "
    "sensor reactor anchor vapor humor saucer platter skewer grinder shaker beaker heater freezer"
)
PERSON_ENDINGS = (
    "man",
    "men",
    "woman",
    "women",
    "ist",
    "ists",
    "ian",
    "ians",
    "er",
    "ers",
    "or",
    "ors",
    "ess",
)


LARGE = words_of(
    "car taxi bus tram truck pickup van limousine convertible jeep ambulance tractor harvester "
    "bulldozer excavator crane trailer wagon cart carriage chariot sled sleigh bicycle bike motorcycle "
    "motorbike scooter tricycle moped rickshaw train locomotive trolley wheelchair stroller airplane "
    "plane jet biplane helicopter glider balloon balloons blimp airship zeppelin drone rocket spaceship "
    "spacecraft shuttle satellite rover submarine ship boat longship canoe kayak raft yacht sailboat "
    "galleon ferry gondola barge dinghy house houses cottage cabin hut barn castle palace church "
    "cathedral temple pagoda shrine chapel mosque tower lighthouse windmill skyscraper skyscrapers "
    "bridge gate arch fountain statue sculpture monument obelisk tent igloo gazebo carousel tree trees "
    "oak pine willow palm sunflower sunflowers rose roses tulips cactus mushroom mushrooms piano violin "
    "guitar cello harp drum drums accordion saxophone trumpet jukebox gramophone throne sofa couch "
    "armchair chair bed bathtub fireplace bonfire fire oven stove refrigerator aquarium telescope globe "
    "machine computer laptop television monitor monitors cauldron altar chest coffin sarcophagus "
    "snowman scarecrow skeleton skeletons golem pumpkin pumpkins cake kite umbrella umbrellas sword "
    "shield anvil well volcano waterfall rainbow iceberg lightning chessboard surfboard canvas easel "
    "mirror clock map book books vase bowl basket baskets lantern lanterns hydrant mailbox dome crystal "
    "crystals"
)
"""Things that are large, or that somebody would name first of a scene."""
SMALL = words_of(
    "cigarette cigar pipe soda coffee tea wine beer juice milk milkshake milkshakes lemonade water "
    "bread sandwich slice toast soup sauce dough flour sugar salt cheese butter candy pen pencil key "
    "keys coin whistle spoon spoons fork forks knife knives napkin napkins plate plates cup cups straw "
    "clamp clamps screw screws nail spring springs string strings rope ropes thread wire wires cable "
    "cables buckle badge label ticket tickets card cards paper papers letter letters page pages note "
    "notes shaving shavings spark sparks crumb crumbs pebble pebbles leaf leaves twig twigs petal "
    "petals vine vines ivy moss weeds flake flakes bubble bubbles drop drops foam steam confetti ash "
    "ashes hole holes circle crack cracks stump stain stains puddle puddles ripple ripples dot dots "
    "beam beams railing curtain curtains blanket cushion cushions pillow pillows sticker stickers "
    "poster posters sign signs calendar calendars comic magazine jar jars bottle bottles tile bandage "
    "towel towels suitcase wand brush brushes broom tray oar oars stalk stalks hay wheat sand soap tape"
)
"""What is held, eaten, or seen in passing."""


def is_animate(noun: str) -> bool:
    """A person or an animal, by list or by the ending of a profession."""
    last = noun.rsplit(" ", 1)[-1]
    if last in ANIMATE or last.removesuffix("s") in ANIMATE:
        return True
    made = last in MADE_THINGS or last.removesuffix("s") in MADE_THINGS
    return last.endswith(PERSON_ENDINGS) and len(last) > 4 and not made and not rank_of(last)


def rank_of(noun: str) -> int:
    """0 for things, 1 for places, 2 for clothes, 3 for parts: the lowest are chosen first."""
    last = noun.rsplit(" ", 1)[-1]
    for rank, words in ((3, PARTS), (2, CLOTHES), (1, PLACES)):
        if last in words or last.removesuffix("s") in words:
            return rank
    return 0


def prominence(noun: str) -> float:
    """Of a thing: below 0 for people, animals and what is large, above for what is small."""
    last = noun.rsplit(" ", 1)[-1]
    if is_animate(noun):
        return -1.0
    if last in LARGE or last.removesuffix("s") in LARGE:
        return -0.5
    return 0.5 if last in SMALL or last.removesuffix("s") in SMALL else 0.0
