"""Names of things: the 80 classes of COCO, other words for them, and how two names are compared."""

from __future__ import annotations

import re
import unicodedata

from ..plurals import IRREGULAR

COCO = frozenset(
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|"
    "parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|"
    "tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|"
    "tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|"
    "hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|"
    "keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|"
    "hair drier|toothbrush".split("|")
)
"""The classes of COCO (Lin et al., ECCV 2014), as RT-DETR names them."""

SYNONYMS = """
person: man woman boy girl child kid baby people human lady guy gentleman toddler men women children
bicycle: bike cycle
car: automobile sedan taxi cab suv convertible coupe limousine sports_car
motorcycle: motorbike scooter moped
airplane: aeroplane plane aircraft jet airliner
bus: school_bus double-decker minibus coach
train: locomotive tram subway
truck: lorry pickup pickup_truck fire_truck firetruck
boat: ship sailboat ferry yacht canoe kayak rowboat
traffic light: stoplight traffic_signal
fire hydrant: hydrant
parking meter: parkometer
bench: park_bench
bird: sparrow pigeon parrot owl eagle duck goose swan seagull crow robin penguin chicken hen rooster
cat: kitten kitty tabby
dog: puppy pup hound corgi poodle bulldog terrier labrador husky dachshund beagle retriever
horse: pony foal stallion mare
sheep: lamb ram ewe
cow: bull ox calf cattle
bear: polar_bear grizzly panda
backpack: rucksack knapsack
umbrella: parasol
handbag: purse
tie: necktie bow_tie bowtie
suitcase: luggage
frisbee: flying_disc
skis: ski
sports ball: ball football soccer_ball basketball baseball tennis_ball volleyball
tennis racket: racket racquet tennis_racquet
bottle: flask
wine glass: wineglass goblet
cup: mug teacup
hot dog: hotdog
donut: doughnut
cake: birthday_cake cupcake
chair: armchair stool
couch: sofa settee
potted plant: houseplant pot_plant
dining table: table desk
tv: television tv_set monitor television_set tvmonitor
laptop: notebook_computer
mouse: computer_mouse
remote: remote_control
cell phone: cellphone phone smartphone mobile_phone telephone
microwave: microwave_oven
oven: stove
refrigerator: fridge
clock: alarm_clock wall_clock
teddy bear: teddy plush_bear
hair drier: hair_dryer hairdryer hairdrier
""".strip().split("\n")
"""Other words for COCO's classes, "_" for a space inside one."""

_COCO_NAME = {
    word.replace("_", " "): name
    for name, words in (line.split(": ") for line in SYNONYMS)
    for word in words.split()
}
_SINGULAR = {many: one for one, many in IRREGULAR.items()} | {
    "scissors": "scissors", "skis": "skis", "lens": "lens", "lenses": "lens", "canvas": "canvas",
    "canvases": "canvas", "gases": "gas", "tvs": "tv", "taxis": "taxi", "elves": "elf", "thieves": "thief",
    "hooves": "hoof", "axes": "axe", "volcanoes": "volcano", "mosquitoes": "mosquito", "irises": "iris",
}  # fmt: skip
_WITH_E = frozenset(
    "tie necktie bowtie pie cookie movie zombie selfie brownie hoodie genie pixie smoothie collie magpie "
    "moustache mustache headache quiche avalanche fuse".split()
)
"""Nouns whose plural looks like that of another kind: ties is not of "ty"."""


def normalised(name: str) -> str:
    """A name in lower case, with single spaces, in the singular."""
    words = re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", name)).strip().lower().split(" ")
    return " ".join([*words[:-1], singular(words[-1])])


def singular(word: str) -> str:
    """An English noun without the ending of its plural."""
    if word in _SINGULAR:
        return _SINGULAR[word]
    if re.search(r"(?:ss|us|is|ous)$", word) or len(word) < 4:
        return word
    if word.endswith("s") and (word[:-1] in _WITH_E or word[:-1] in COCO):
        return word[:-1]
    if word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(?:ss|(?<!o)us|x|tz|zz|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def coco_class(noun: str) -> str | None:
    """The class of COCO that a noun names, None if there is none: "puppies" is a dog."""
    name = normalised(noun)
    for word in (noun.strip().lower(), name):
        if word in COCO:
            return word
    return _COCO_NAME.get(name)


def class_of(noun: str) -> str:
    """What a noun is compared by: its class of COCO, else its normalised self."""
    return coco_class(noun) or normalised(noun)


def same_class(a: str, b: str) -> bool:
    """Whether two names mean the same kind of thing."""
    return class_of(a) == class_of(b)
