"""Automatic subjects: METHODS' parse tables, the evaluation templates, captions, tag prompts, and text as
tokenizers decode it.
"""

import itertools
import random

import pytest

from gsn_ops.subjects.caption_parser import modifier_groups, noun_phrases
from gsn_ops.subjects.find import MAX_SUBJECTS, place_of, subjects_of_caption
from gsn_ops.subjects.matching import phrase_matches, split_words


def labels(text):
    return [s.label for s in subjects_of_caption(text)[0]]


GROUPS = [  # "Parse results" of the methods document
    ("std", "a red car and a blue bench", [["red", "car"], ["blue", "bench"]]),
    ("std", "a checkered bowl on a red and blue table", [["checkered", "bowl"], ["red", "blue", "table"]]),
    ("std", "a black leather jacket", [["black", "leather", "jacket"]]),
    ("std", "a spotted and horned lion", [["spotted", "horned", "lion"]]),
    ("std", "a photo of a cat and a dog", []),
    ("std", "a dog that is red and a cat", []),
    ("with_verbs", "a dog that is red and a cat", [["red", "dog"]]),
    ("with_verbs", "a red car and a blue bench", [["red", "car"], ["blue", "bench"]]),
    ("verb_root", "the dog is brown and the cat is white", [["dog", "brown"], ["cat", "white"]]),
    ("verb_root", "a red car and a blue bench", []),
    ("std", "the dog is brown and the cat is white", []),
]


@pytest.mark.parametrize("rule, text, expected", GROUPS)
def test_groups_of_words_as_the_dependency_rules_give_them(rule, text, expected):
    assert modifier_groups(text, rule) == expected


FOUND = {
    # tables
    "a red car and a blue bench": "red car, blue bench",
    "a red cat and a red dog": "red cat, red dog",
    "a checkered bowl on a red and blue table": "checkered bowl, red blue table",
    "a horned lion and a spotted monkey": "horned lion, spotted monkey",
    "a cat and a catamaran": "cat, catamaran",
    "a black leather jacket": "black leather jacket",
    "a spotted and horned lion": "spotted horned lion",
    "a photo of a cat and a dog": "cat, dog",
    "a dog that is red and a cat": "red dog, cat",
    "the dog is brown and the cat is white": "brown dog, white cat",
    # evaluation templates
    "a photo of a giraffe and an elephant": "giraffe, elephant",
    "a photo of cat next to dog": "cat, dog",
    "a photo of cat next to dog with bird and sheep": "cat, dog, bird, sheep",
    "a photo of a cat next to a dog with a bird and an oven": "cat, dog, bird, oven",
    "a photo of a red apple and a blue truck": "red apple, blue truck",
    "a photo of a red apple, a green chair and a blue truck": "red apple, green chair, blue truck",
    "a frog with a hat": "frog, hat",
    "a horse and a pink balloon": "horse, pink balloon",
    # what the embedded model knows
    "a red circle, a blue square and a green star": "red circle, blue square, green star",
    "a circle": "circle",
    # template words
    "A painting of an astronaut riding a unicorn, in the style of Van Gogh": "astronaut, unicorn",
    "a close-up portrait of a woman with long blonde hair": "woman, long blonde hair",
    "a black and white photo of a fluffy sleeping kitten": "fluffy sleeping kitten",
    "The image shows a lamp beside a bookshelf.": "lamp, bookshelf",
    "a man looking at a painting": "man, painting",
    # verbs, prepositions, adverbs
    "a cat sitting on a bench in front of a house": "cat, bench, house",
    "a man riding a horse on the beach at sunset": "man, horse, beach",
    "two cats sleep on a couch": "cats, couch",
    "a big, red car parked next to an old house": "big red car, old house",
    "a brightly colored parrot perched on a tree branch": "colored parrot, tree branch",
    "the cat is very big and the dogs are small and brown": "big cat, small brown dogs",
    "a cat that is black and white sleeping on a red sofa": "black white cat, red sofa",
    "a house made of wood": "house",
    "a woman dressed in red and a man in a blue suit": "woman, man, blue suit",
    "a bowl full of strawberries": "bowl, strawberries",
    "a group of people standing around a birthday cake": "people, birthday cake",
    "the kitchen has a white refrigerator and an oven": "kitchen, white refrigerator, oven",
    # things of several words, colours that are things, materials
    "a hot dog and a dog": "hot dog, dog",
    "a teddy bear near a fire hydrant": "teddy bear, fire hydrant",
    "an apple and an orange": "apple, orange",
    "a wooden and metal chair": "wooden metal chair",
    "a red t-shirt and a blue cap": "red t-shirt, blue cap",
    # repetition
    "a dog and a dog": "dog, dog#2",
    "a dog, the dog is black": "dog",
    "a red dog and a dog": "red dog, dog#2",
    # tags
    "1girl, red hair, blue dress, masterpiece": "girl, red hair, blue dress",
    "masterpiece, best quality, 1boy, solo, silver_armor, looking at viewer": "boy, silver armor",
    r"saber \(fate\), sword, blue eyes, score_9, 4k": "saber, sword, blue eyes",
    "(red hair:1.3), (masterpiece:1.2), (hat)": "red hair, hat",
    "<lora:detail:0.8>, embedding:badhands, a cat": "cat",
    "masterpiece, best quality, a cute puppy playing with a ball in a garden": "cute puppy, ball, garden",
    # as CLIP's tokenizer decodes it
    "1 girl , red _ hair , blue _ dress , masterpiece , best quality": "girl, red hair, blue dress",
    "saber ( fate ) , a red t - shirt": "saber, red t-shirt",
    "dog 's bowl , a cat 's toy": "dog bowl, cat toy",
    # nothing to find
    "": "",
    "masterpiece, best quality, 4k": "",
    "beautiful, very detailed": "",
    "\u4e00\u53ea\u732b": "",
}


@pytest.mark.parametrize("text", FOUND)
def test_finds_the_things_a_prompt_names(text):
    assert ", ".join(labels(text)) == FOUND[text]


CAPTIONS = {  # as people write them
    # one noun for several things
    "a red and a blue balloon": "red balloon, blue balloon",
    "a red, a green, and a blue balloon on a table": "red balloon, green balloon, blue balloon, table",
    "the red and the blue car": "red car, blue car",
    "a red and blue balloon": "red blue balloon",
    "a wooden and a metal chair": "wooden chair, metal chair",
    "an orange and a red car": "orange, red car",
    "the old and the sea": "sea",
    "two kittens, one black and one white, sleeping in a wicker basket": "kittens, wicker basket",
    # what is said not to be there, and what is said of the picture
    "a dog without a collar": "dog",
    "a pink elephant, not a grey one": "pink elephant",
    "a squirrel with a tiny hat, 35mm photograph, bokeh": "squirrel, tiny hat",
    "a cat, in the style of picasso": "cat",
    "a house, by the sea": "house, sea",
    "a vase of sunflowers on a kitchen table, van gogh style": "vase, sunflowers, kitchen table",
    "3d render of a cute robot holding a flower, octane render, 8k": "cute robot, flower",
    (
        "portrait of an old fisherman with a white beard and blue eyes, oil painting"
    ): "old fisherman, white beard, blue eyes",
    "cinematic shot of a red sports car driving through a neon city at night": "red sports car, neon city",
    (
        "a pirate ship sailing on a stormy sea, lightning in the sky, dramatic lighting"
    ): "pirate ship, stormy sea, lightning, sky",
    # verbs and clauses
    "a robot and a small girl are playing chess": "robot, small girl, chess",
    "a dog that is chasing a cat": "dog, cat",
    "A bear, which is brown, and a zebra": "brown bear, zebra",
    "a rabbit who is white and a fox who is orange": "white rabbit, orange fox",
    "a green bench that is next to a red fire hydrant": "green bench, red fire hydrant",
    "a tiger and a lion facing each other": "tiger, lion",
    "A monkey riding a bicycle in a park, a dog running behind it.": "monkey, bicycle, park, dog",
    ("an old man with a long gray beard, wearing a blue robe and holding a wooden staff"): (
        "old man, long gray beard, blue robe, wooden staff"
    ),
    "a knight in shining armor fighting a green dragon": "knight, shining armor, green dragon",
    (
        "a corgi wearing sunglasses and a hawaiian shirt on the beach"
    ): "corgi, sunglasses, hawaiian shirt, beach",
    "there is a red barn behind a white fence": "red barn, white fence",
    "a castle made of ice cream": "castle, ice cream",
    # as in captions of photographs
    "A man in a suit and tie holding a cell phone to his ear.": "man, suit, tie, cell phone, ear",
    "A bathroom with a toilet, sink, and shower.": "bathroom, toilet, sink, shower",
    "Two giraffes standing next to a tree in a field.": "giraffes, tree, field",
    "a half-eaten pizza on a table with a bottle of beer": "half-eaten pizza, table, bottle, beer",
    "a woman's red handbag on a chair": "woman red handbag, chair",
    "a stack of books and a pair of glasses on a desk": "books, glasses, desk",
    "a photo of the eiffel tower at night": "eiffel tower",
    "a blue and white porcelain vase": "blue white porcelain vase",
    "a man, a woman and their dog": "man, woman, dog",
    "a street with parked cars and a yellow taxi": "street, parked cars, yellow taxi",
}
TAGS = {  # as people write them: the things, and after | those beyond five
    r"1girl, red hair, blue_dress, masterpiece, \(series\)": "girl, red hair, blue dress",
    "1 girl , red _ hair , blue _ dress , masterpiece , ( series )": "girl, red hair, blue dress",
    "1girl, red hair BREAK 1boy, blue jacket": "girl, red hair, boy, blue jacket",
    "1girl, medium hair, (standing:1.1), (black cloak), BREAK, wolf": "girl, medium hair, black cloak, wolf",
    (
        "1girl, hatsune miku, twintails, (aqua hair:1.2), detached sleeves, "
        "BREAK, cityscape, night, neon lights"
    ): ("girl, hatsune miku, twintails, aqua hair, detached sleeves | cityscape, neon lights"),
    ("1girl, solo, long hair, silver hair, red eyes, school uniform, cherry blossoms, looking at viewer"): (
        "girl, long hair, silver hair, red eyes, school uniform | cherry blossoms"
    ),
    (
        "masterpiece, best quality, 2girls, blonde hair, black hair, holding hands"
    ): "girls, blonde hair, black hair",
    "score_9, score_8_up, score_7_up, source_anime, 1boy, black_jacket, katana": "boy, black jacket, katana",
    "rating:general, 1girl, fox_tail, kimono, paper_lantern": "girl, fox tail, kimono, paper lantern",
    "1girl, white_dress, straw_hat, sunflower_field, blue_sky, cloud, day, outdoors": (
        "girl, white dress, straw hat, sunflower field, blue sky | cloud"
    ),
    "1girl, cat_ears, maid, apron, (((tray))), teacup, cake": (
        "girl, cat ears, maid, apron, tray | teacup, cake"
    ),
    (
        r"best quality, absurdres, artoria pendragon \(fate\), armor, "
        r"excalibur \(fate/stay night\), blonde hair"
    ): ("artoria pendragon, armor, excalibur, blonde hair"),
    (
        "(masterpiece:1.4), (best quality:1.4), 1girl, [blue eyes], {{red ribbon}}, sitting, smile"
    ): "girl, blue eyes, red ribbon",
    (
        "no humans, scenery, mountain, lake, forest, cloudy sky, castle"
    ): "mountain, lake, forest, cloudy sky, castle",
    "masterpiece, 1girl,  rabbit_ears,   red_bow, , carrot": "girl, rabbit ears, red bow, carrot",
    "1other, robot, glowing_eyes, rusty_armor, red_cape, sword, shield, ruins": (
        "robot, glowing eyes, rusty armor, red cape, sword | shield, ruins"
    ),
    ("<lora:add_detail:1>, 1girl, green_hair, (yellow raincoat:1.3), umbrella, puddle, frog"): (
        "girl, green hair, yellow raincoat, umbrella, puddle | frog"
    ),
    "cat, dog, best quality": "cat, dog",
    "solo, 1cat, hat, (red bow tie:1.2), simple background": "cat, hat, red bow tie",
    (
        "1girl, holding_sword, red_eyes, sitting, from_above, white_background, cowboy_shot"
    ): "girl, sword, red eyes",
    "2boys, 1girl, red_scarf, blue_scarf, snow, winter": "boys, girl, red scarf, blue scarf, snow",
    "4k, uhd, photorealistic, golden retriever puppy, green tennis ball, grass": (
        "golden retriever puppy, green tennis ball, grass"
    ),
    (
        "dragon, (fire:0.8), knight, silver_armor, castle, intricate, "
        "trending on artstation, by greg rutkowski"
    ): "dragon, fire, knight, silver armor, castle",
    (
        "crystal castle, purple sky, two moons, matte painting, art by moebius"
    ): "crystal castle, purple sky, moons",
    ("1girl, hair_ornament, black_thighhighs, bag, train_interior, window, standing, highres"): (
        "girl, hair ornament, black thighhighs, bag, train interior | window"
    ),
    (
        "very aesthetic, newest, 1girl, angel wings, halo, white robe, clouds"
    ): "girl, angel wings, halo, white robe, clouds",
}


@pytest.mark.parametrize("text, expected", [*CAPTIONS.items(), *TAGS.items()])
def test_real_prompts_of_both_kinds(text, expected):
    found, left_out = subjects_of_caption(text)
    assert " | ".join(filter(None, (", ".join(s.label for s in found), ", ".join(left_out)))) == expected


def test_things_that_share_a_noun_are_told_apart_by_their_modifiers():
    red, blue = subjects_of_caption("a red and a blue balloon")[0]
    assert (red.noun, red.modifiers, red.occurrence) == ("balloon", ("red",), 1)
    assert (blue.noun, blue.modifiers, blue.occurrence) == ("balloon", ("blue",), 1)


def test_nouns_and_modifiers_are_told_apart():
    (car, bench), _ = subjects_of_caption("a big red car and a bench")
    assert (car.noun, car.modifiers, car.source, car.role) == ("car", ("big", "red"), "found", "wanted")
    assert (bench.noun, bench.modifiers) == ("bench", ())
    assert subjects_of_caption("a hot dog")[0][0].noun == "hot dog"


THINGS = (
    "bicycle car motorcycle truck donut bench bird cat dog horse sheep cow elephant "
    "bear zebra giraffe banana apple broccoli "
    "carrot chair couch oven refrigerator"
).split()
COLOURS = "red yellow green blue purple pink".split()


def test_every_pair_of_the_tiam_sets():
    for a, b in itertools.permutations(THINGS, 2):
        article = {w: "an" if w[0] in "aeiou" else "a" for w in (a, b)}
        assert labels(f"a photo of {article[a]} {a} and {article[b]} {b}") == [a, b]
        assert labels(f"a photo of {a} next to {b}") == [a, b]


def test_every_coloured_thing_of_the_tiam_sets():
    for (a, b), (c, d) in itertools.product(itertools.permutations(COLOURS, 2), zip(THINGS, THINGS[1:])):
        assert labels(f"a photo of a {a} {c} and a {b} {d}") == [f"{a} {c}", f"{b} {d}"]


def test_at_most_five_and_the_rest_is_named():
    found, left_out = subjects_of_caption("a cat, a dog, a red bird, a cow, a horse, a sheep and a blue car")
    assert len(found) == MAX_SUBJECTS == 5
    assert left_out == ["sheep", "blue car"]


def test_a_found_subject_is_at_its_own_place():
    """On text made of the words and marks that the rules turn on: `places` finds each noun phrase where it
    was read.
    """
    vocabulary = (
        "a the and or of is that dog cat hot teddy bear 's - , . ( ) \\( \\) red blue "
        "wooden very brightly sleeping sits in "
        "front photo 1 2 t shirt _ : the men without style break playing by orange glass "
        "\u732b spotted fluffy ice cream milky way a red and a blue"
    ).split()
    rng = random.Random(0)
    seen = 0
    for n in range(4000):
        text = " ".join(rng.choices(vocabulary, k=rng.randint(1, 12)))
        text = text.replace(" - ", "-").replace(" ,", ",") if n % 2 else text
        words = split_words(text)
        for phrase in noun_phrases(text):
            subject = place_of(phrase, words)
            assert (
                phrase_matches(subject, words)[subject.occurrence - 1].noun.start == phrase.noun[0].at.start
            ), text
            seen += 1
        found = subjects_of_caption(text)[0]
        assert len({s.label for s in found}) == len(found), text
    assert seen > 3000
