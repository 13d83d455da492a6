"""Automatic subjects: METHODS' parse tables, the evaluation templates, captions, tag prompts, and text as tokenizers decode it."""

import itertools
import random

import pytest

from gsn_ops.captions import MOST, _as_subject, find_subjects, groups, noun_phrases
from gsn_ops.matching import places, split_words


def labels(text):
    return [s.label for s in find_subjects(text)[0]]


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
    assert groups(text, rule) == expected


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
    "A painting of an astronaut riding a unicorn, in the style of Van Gogh": "astronaut, unicorn, van gogh",
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


def test_nouns_and_modifiers_are_told_apart():
    (car, bench), _ = find_subjects("a big red car and a bench")
    assert (car.noun, car.modifiers, car.source, car.role) == ("car", ("big", "red"), "found", "wanted")
    assert (bench.noun, bench.modifiers) == ("bench", ())
    assert find_subjects("a hot dog")[0][0].noun == "hot dog"


THINGS = ("bicycle car motorcycle truck donut bench bird cat dog horse sheep cow elephant bear zebra giraffe banana apple broccoli "
          "carrot chair couch oven refrigerator").split()
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
    found, left_out = find_subjects("a cat, a dog, a red bird, a cow, a horse, a sheep and a blue car")
    assert len(found) == MOST == 5
    assert left_out == ["sheep", "blue car"]


def test_a_found_subject_is_at_its_own_place():
    """On text made of the words and marks that the rules turn on: `places` finds each noun phrase where it was read."""
    vocabulary = ("a the and or of is that dog cat hot teddy bear 's - , . ( ) \\( \\) red blue wooden very brightly sleeping sits in "
                  "front photo 1 2 t shirt _ : the men orange glass \u732b spotted fluffy ice cream milky way").split()
    rng = random.Random(0)
    seen = 0
    for n in range(3000):
        text = " ".join(rng.choices(vocabulary, k=rng.randint(1, 12)))
        text = text.replace(" - ", "-").replace(" ,", ",") if n % 2 else text
        words = split_words(text)
        for phrase in noun_phrases(text):
            subject = _as_subject(phrase, words)
            assert places(subject, words)[subject.occurrence - 1].noun.start == phrase.noun[0].at.start, text
            seen += 1
        found = find_subjects(text)[0]
        assert len({s.label for s in found}) == len(found), text
    assert seen > 3000
