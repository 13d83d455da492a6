"""Word lists of the built-in parser, and the tests of single words that use them."""

from __future__ import annotations


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


def phrases_of(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


INDEFINITE = words_of(
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety hundred hundreds thousand a an another one two three four five six seven "
    "eight nine ten eleven twelve some several many few both multiple various numerous dozens dozen any "
    "each every"
)
DEFINITE = words_of("the this that these those his her its their my your our")
COPULAS = words_of("is are was were be been being")
RELATIVES = words_of("that which who")
CONJUNCTIONS = words_of("and or & plus nor")
PREPOSITIONS = words_of(
    "of in on at with next to near beside besides under over behind between above below from by for into "
    "through against along around across inside outside atop onto toward towards beneath underneath "
    "among amongst amid like as without within during upon via than off up down out past beyond opposite "
    "alongside about after before until while where when wearing holding including except per versus vs "
    "amidst midst despite behind astride onto because although though whether since unless throughout "
    "underneath towards"
)
OTHER_FUNCTION_WORDS = words_of(
    "it he she they him them i we you me us himself herself itself themselves there here who whom whose "
    "what how why if but yet then not no none only just even also has have had having does do did can "
    "isn aren wasn weren don doesn didn hasn haven hadn cannot nobody avoid neither lacking lacks minus "
    "excluding exclude sans need needs want wants thanks thank hello sure let could will would should "
    "may might must let lets break s t d m re ve ll please himself whatever everywhere somewhere "
    "anywhere nowhere others another else ever never always often sometimes already however meanwhile"
)
FUNCTION_WORDS = (
    DEFINITE | INDEFINITE | COPULAS | RELATIVES | CONJUNCTIONS | PREPOSITIONS | OTHER_FUNCTION_WORDS
)
LOCATING = PREPOSITIONS - words_of(
    "holding wearing while where when until before because although as up down off than"
)
"""Prepositions behind which stands a place or a part."""
NEGATIONS = words_of(
    "without no not neither nor isn aren wasn weren don doesn didn hasn haven hadn cannot never nobody "
    "lacking lacks avoid exclude excluding except minus sans"
)
NEGATING_PAIRS = phrases_of(
    "instead of|rather than|free of|free from|devoid of|empty of|clear of|absence of|lack of|other than"
)
NEGATION_ENDS = words_of("but just only instead rather")
"""Words that negate the following noun."""
ADVERBS = words_of(
    "very really so quite too also almost both all extremely super ultra slightly mostly half more most "
    "barefoot aloft overhead ashore afloat skyward sideways forward backward backwards upstairs downstairs "
    "still together apart away nearby outdoors indoors upside"
)
LY_NOT_ADVERBS = words_of(
    "family fly butterfly dragonfly firefly mayfly gadfly lily belly jelly holly jolly dolly bully gully "
    "trolley ally assembly anomaly monopoly homily tally rally lovely friendly ugly silly curly lonely "
    "deadly woolly wooly elderly early hilly heavenly ghostly scaly bubbly wobbly oily smelly cuddly "
    "burly prickly wrinkly sparkly frilly chilly italy lively ply"
)
LINKS = COPULAS | RELATIVES
"""Words that may stand between a noun and an adjective after it."""

COLOURS = words_of(
    "red green blue yellow orange purple pink brown black white gray grey violet indigo cyan magenta "
    "teal turquoise maroon beige crimson scarlet lavender lilac navy burgundy ivory cream tan khaki "
    "olive lime peach coral aqua azure amber mauve fuchsia blonde blond brunette auburn ginger golden "
    "silver gold bronze copper multicolored multicoloured colorful colourful rainbow"
)
MATERIALS = words_of(
    "wood metal glass plastic leather stone brick marble steel iron aluminum aluminium ceramic porcelain "
    "paper cardboard cotton silk wool velvet denim lace satin linen rubber concrete granite crystal "
    "diamond jade pearl bamboo wicker straw clay brass tin chrome felt fur tweed suede"
)
ADJECTIVES = words_of(
    "big small large little tiny huge gigantic enormous massive tall short long wide narrow thin thick "
    "fat slim young old new ancient modern vintage retro futuristic beautiful pretty cute handsome "
    "elegant gorgeous attractive ugly scary cool nice good bad great fine dark bright dim vivid pale "
    "deep soft hard smooth rough sharp round rectangular triangular circular flat curved straight hot "
    "cold warm dry wet clean fresh raw cooked ripe whole full empty open closed broken frozen happy sad "
    "angry calm quiet loud strong weak fast slow wild tame domestic medieval royal magical mystical "
    "mythical majestic epic cosmic robotic mechanical electric realistic photorealistic abstract "
    "minimalist detailed intricate ornate simple plain single double tropical exotic blank solid "
    "transparent translucent opaque glossy matte neon monochrome curly bald naked nude dead alive asleep "
    "close bare awake alone overgrown free devoid absent wooden woolen metallic upper lower"
)
POST_NOUN_VERBS = words_of(
    "made worn held lit seen built shown drawn sat stood eaten driven torn hidden fallen grown taken "
    "thrown born cut caught hung spread bent sits stands holds wears rides runs walks plays eats drinks "
    "flies jumps looks lies sleeps watches chases carries drives reads contains shows features depicts "
    "faces hangs floats swims climbs catches kicks throws pulls pushes leans rests smiles sniffs barks "
    "grazes crosses chews hugs kisses meets fights uses stares gazes surrounds covers"
)
PAST_FORMS = words_of(
    "made worn held seen built shown drawn sat stood eaten driven torn hidden fallen grown taken thrown "
    "born caught fell wrote lay sank swam drank drove rode flew ate gave took came went saw sang rang "
    "wore hung drew threw grew blew broke spoke woke hid fought taught brought bought kept slept wept "
    "swept crept leapt lost fed led spun slid chose froze stole swung clung flung dug became began "
    "sprang shone strode knelt lit sunk swept spat tore shook"
)
"""Irregular past forms and participles that are no nouns."""
THIRD_PERSONS = words_of(
    "sits stands holds wears eats flies sleeps chases carries drives reads contains hangs floats swims "
    "climbs catches throws pulls pushes leans sniffs grazes chews fights stares surrounds consists "
    "hovers emerges appears seems becomes begins belongs glides soars leaps perches kneels crouches "
    "gazes wanders glows shines flickers dangles follows lies examines feeds sings paints cooks digs "
    "falls grows gives takes keeps brings waits falls meets writes sips looms howls rolls carves pours "
    "teaches learns lifts juggles paddles waters chops stirs bakes knits plays walks runs rides rests "
    "drinks watches looks jumps crosses kisses hugs smiles barks kicks uses covers"
)
"""Finite forms, some of which are also plurals."""
PAIRS = words_of(
    "glasses sunglasses scissors pants trousers shorts jeans headphones goggles pliers tweezers binoculars"
)
PLURAL_VERBS = words_of(
    "sit stand hold wear ride run walk play eat drink fly jump look lie sleep watch chase carry drive "
    "read hang float swim climb lean rest smile graze dance sing fight talk meet stare gaze face hug "
    "kiss"
)
PLURALS = words_of("people men women children mice geese sheep deer fish police cattle oxen teeth feet")

Y_NOUNS = words_of(
    "baby puppy bunny kitty teddy pony fairy lady city sky key monkey donkey turkey berry strawberry "
    "blueberry raspberry blackberry cranberry cherry boy cowboy toy body party candy jelly daisy ruby "
    "lily jersey trolley alley valley library bakery battery butterfly dragonfly firefly fly family army "
    "navy story penny pastry ferry lorry canary ivy honey money chimney hockey whiskey whisky jockey "
    "pulley trophy bay tray hay clay day spray highway subway railway runway doorway hallway driveway "
    "pathway gateway stairway joy jay ray display play essay guy buoy decoy kidney parsley barley celery "
    "broccoli cemetery factory gallery grocery pottery jewelry jewellery embroidery machinery scenery "
    "century country county cavalry infantry laundry balcony ceremony colony gypsy buddy daddy mummy "
    "mommy granny nanny belly bully guppy poppy pansy peony ladybug husky piggy doggy doggie cookie "
    "curry dairy deity diary enemy entry frisbee glory gravy harpy hobby holly ivory jetty lobby lullaby "
    "melody mercury nursery oy patty periphery pharmacy photography pinky property quarry sentry sherry "
    "spy study sunday surgery taxi textbook tapestry theory treasury university wallaby caddy cabby "
    "birdy booty brewery bounty"
)
EN_NOUNS = words_of(
    "kitchen chicken kitten garden oven men women children pen hen den queen screen token alien citizen "
    "siren raven linen heaven maiden dozen mitten pollen vixen seven ten eleven teen canteen sheen "
    "halloween aspen wren oxen specimen abdomen omen burden warden haven even often then when been seen "
    "people gentlemen policemen firemen snowmen businessmen fishermen oxygen hydrogen kindergarten "
    "lichen chitin yen zen denizen"
)
ED_NOUNS = words_of(
    "bed sled shed seed weed reed steed need feed breed speed bobsled seabed flowerbed moped biped "
    "quadruped hundred watershed creed deed greed thoroughbred bloodshed seaweed birdseed"
)
ISH_NOUNS = words_of("dish radish rubbish varnish parish polish finish horseradish satellite-dish")
ING_NOUNS = words_of(
    "painting drawing building ring king wing string spring ceiling clothing wedding morning evening "
    "earring lightning pudding sibling duckling swing sling thing being sting earthling dumpling icing "
    "frosting awning railing lining crossing landing parking lighting rendering viking hamming pekingese "
    "herring starling yearling gosling sapling stocking handwriting opening setting dressing topping "
    "seating swimming-pool bowling coating beijing"
)
FUL_NOUNS = words_of("handful spoonful mouthful armful cupful bowlful fistful")

COMPOUNDS = phrases_of(
    "hot dog|hot dogs|teddy bear|teddy bears|polar bear|polar bears|traffic light|traffic lights|"
    "fire hydrant|stop sign|parking meter|baseball bat|baseball glove|tennis racket|tennis ball|wine glass|"
    "cell phone|dining table|hair drier|hair dryer|sports ball|guinea pig|sea lion|sea turtle|sea horse|"
    "ice cream|roller coaster|hot air balloon|christmas tree|coffee table|solar system|milky way|"
    "french fries|school bus|fire truck|swimming pool|rubber duck|street light|street lamp|lawn mower|"
    "washing machine|vending machine|rocking chair|golden retriever|german shepherd|bald eagle|palm tree|"
    "pine tree|sports car|race car|space ship|remote control|magnifying glass|watering can|trash can|"
    "garbage can|tin can|spray can|shot glass|cherry blossom|cherry blossoms"
)
"""Nouns of several words, whose last word alone would name something else."""


def is_adverb(word: str) -> bool:
    """Degree words and words in -ly, which are no modifiers of nouns."""
    return word in ADVERBS or (word.endswith("ly") and len(word) > 3 and word not in LY_NOT_ADVERBS)


def is_adjective(word: str) -> bool:
    """By the lists, else by suffix (-y -ed -ish -ful -less -en -ous).

    Of a hyphenated word the last part counts.
    """
    if is_listed_adjective(word):
        return True
    word = word.rsplit("-", 1)[-1]
    if len(word) < 4 or word.endswith("fish") or is_listed_noun(word):
        return False
    return word.endswith(("y", "ed", "ish", "ful", "less", "en", "ous"))


def is_listed_adjective(word: str) -> bool:
    """A colour, a material or a listed adjective, whole or as the last part of a hyphenated word."""
    return any(w in COLOURS or w in MATERIALS or w in ADJECTIVES for w in (word, word.rsplit("-", 1)[-1]))


def is_listed_noun(word: str) -> bool:
    """Words that end like adjectives or verb forms but name things."""
    lists = (Y_NOUNS, EN_NOUNS, ED_NOUNS, ISH_NOUNS, ING_NOUNS, FUL_NOUNS)
    return any(word in nouns for nouns in lists)


def is_verb_form(word: str, after: str = "") -> bool:
    """Forms in -ing and -ed and finite forms; those without -s only after a plural noun (`after`)."""
    if is_listed_noun(word) or is_listed_adjective(word):
        return False
    if word in POST_NOUN_VERBS or (word.endswith(("ing", "ed")) and len(word) > 4):
        return True
    return word in PLURAL_VERBS and (after in PLURALS or (after.endswith("s") and not after.endswith("ss")))
