"""Prompts of people in which the wrong words were found, by kind: what a person would name."""

import pytest

from gsn_ops.prompt import EncoderTokens, Piece, PromptTokens
from gsn_ops.subjects.find import subjects_of_caption
from gsn_ops.subjects.language import foreign_language
from gsn_ops.subjects.resolve import choose_subjects


def nouns(text):
    return [s.noun for s in subjects_of_caption(text)[0]]


def check(text, expected):
    assert ", ".join(nouns(text)) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a bird gives a nut to a fox", "bird, nut, fox"),
        ("the black pen wrote on a white pad", "pen, pad"),
        ("the red pear lay next to a plum", "pear, plum"),
        ("the wallet and the key hang on a hook", "wallet, key, hook"),
        ("a whisk and a bowl mix the dough", "whisk, bowl, dough"),
        ("a man sips a latte", "man, latte"),
        ("a man that has grey hair sips a latte", "man, hair, latte"),
        ("the planet looms in the sky", "planet, sky"),
        ("a hawk diving to catch a mouse", "hawk, mouse"),
        ("the blue Fiat 500 parked by a wall", "fiat, wall"),
        ("a cook flips a pancake", "cook, pancake"),
        ("a duck swims past the ducklings that follow it", "duck, ducklings"),
        ("the farmer ploughs a field with two oxen", "farmer, field, oxen"),
        ("two crows share a worm", "crows, worm"),
        ("a bride and a groom dance barefoot on a pier", "bride, groom, pier"),
        ("her wings shimmer like glass", "wings"),
        ("a close look at a chessboard", "chessboard"),
        ("a lion with a bare, tattooed chest and a sword", "lion, chest, sword"),
        ("a ball rolled under the couch", "ball, couch"),
    ],
)
def test_s1_a_verb_is_no_noun(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("the image captures a train in the midst of smoke", "train, smoke"),
        ("in this image, a dog is drinking", "dog"),
        ("This is a picture of two lambs on a hill.", "lambs, hill"),
        ("At the center of the composition stands a tall clock.", "clock"),
        ("A couple of zebras can be seen in the distance.", "zebras"),
        ("The photo shows a bus stopped at a corner.", "bus"),
    ],
)
def test_s2_talk_about_the_image_names_nothing(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            'a cafe sign reading "Blue Bird 3 dollars per cup", next to it a poster of a cat and a woman',
            "sign, poster, cat, woman",
        ),
        ('a lobby with "BUZZ" written on the wall', "lobby, wall"),
        ("a chalkboard that reads 'Joe's Bar' and a waiter", "chalkboard, waiter"),
        ("a billboard, the words \u201cDrive Safe\u201d in red, a truck", "billboard, truck"),
        ("a cat on a flag that says \u00abHello World\u00bb", "cat, flag"),
        ("a banner saying SAVE THE BEES held by two students", "banner, students"),
        ('"a cat and a dog"', "cat, dog"),
    ],
)
def test_s3_quoted_text_is_painted_and_no_subject(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("an old man feeding pigeons, Leica M10, 50mm f/1.4", "man, pigeons"),
        ("a man on a bench, shot on Canon EOS R5, 85mm", "man, bench"),
        ("a snail on a mushroom, macro lens, bokeh, ISO 200, Fujifilm XT4", "snail, mushroom"),
        ("full body shot of a dancer, DSLR, 24-70mm, RAW, cinestill 800t", "dancer"),
        ("a heron, drone shot, DJI Mavic 3, wide dynamic range, 1/200s", "heron"),
    ],
)
def test_s4_cameras_and_lenses_are_no_subjects(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("red cat\nblue dog\ngreen bird", "cat, dog, bird"),
        ("1girl\nred hair\nblue dress\nholding umbrella", "girl, hair, dress, umbrella"),
        ("subject: a red cat\nbackground: a blue house\nstyle: oil", "cat, house"),
        ("* a bus\n* a tram", "bus, tram"),
        ("1. a violin\n2. a trumpet", "violin, trumpet"),
        ("Subject: a juggler; Camera: wide shot, 35mm lens; Lighting: neon; Mood: tense", "juggler"),
        (
            "a wide green meadow below a tall mountain, in the middle of it a very old red\ncar and a dog",
            "meadow, mountain, car, dog",
        ),
    ],
)
def test_s5_lines_and_keys_separate(text, expected):
    check(text, expected)


FOREIGN = {
    "ein roter Fuchs und ein blauer Vogel": "German",
    "une femme avec un chapeau vert": "French",
    "un perro rojo y un gato azul": "Spanish",
    "en hund och en katt p\u00e5 en soffa": "a Scandinavian language",
    "\u7ea2\u8272\u7684\u732b\u548c\u84dd\u8272\u7684\u72d7": "Chinese",
    "\u732b\u3068\u72ac": "Japanese",
    "\u0434\u0435\u0432\u0443\u0448\u043a\u0430 \u0432 \u043f\u043b\u0430\u0442\u044c\u0435": (
        "a language in Cyrillic letters"
    ),
}


def tokens(text, typed=""):
    pieces, at = [], 0
    for n, word in enumerate(text.split()):
        at = text.index(word, at)
        pieces.append(Piece(word, at, at + len(word), n + 1))
        at += len(word)
    return PromptTokens((EncoderTokens("l", text, tuple(pieces), ((1, 76, 77),), typed=typed),), 77)


@pytest.mark.parametrize("text, language", FOREIGN.items())
def test_s6_another_language_is_said_with_the_cure(text, language):
    assert foreign_language(text) == language
    subjects, notes = choose_subjects((), tokens(text))
    assert subjects == () and notes == (
        f"the prompt is not English ({language}), and subjects are found in English only: type them into the "
        "subjects field, separated by commas",
    )


@pytest.mark.parametrize(
    "text",
    [
        "a mariachi band in la paz",
        "rio de janeiro at night",
        "pico de gallo",
        "hatsune miku, vocaloid",
        "a portrait of a senora in a cafe",
        "le chat noir poster",
        "el capitan, yosemite",
        "",
        "1girl, solo",
    ],
)
def test_s6_english_with_foreign_names_is_english(text):
    assert foreign_language(text) == ""


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a red dog and a blue house <lora:detail_v2:0.8>", "dog, house"),
        ("<lora:add_detail:1>, 1girl, guitar", "girl, guitar"),
        ("a witch, embedding:easynegative, (moon:1.4)", "witch, moon"),
        ("<hypernet:anime_3:1> a maid with a tray", "maid, tray"),
    ],
)
def test_s7_network_tags_of_the_typed_text_name_nothing(text, expected):
    check(text, expected)


def test_s7_the_typed_text_is_read_and_the_tokens_give_the_columns():
    shown = "a red dog and a blue house lora:detail 0.8"
    subjects, _ = choose_subjects((), tokens(shown, typed="a red dog and a blue house <lora:detail:0.8>"))
    assert [(s.label, s.noun) for s in subjects] == [("red dog", {"l": (3,)}), ("blue house", {"l": (7,)})]


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            '{"subjects": [{"description": "a black mug"}, {"description": "a brass spoon"}], '
            '"camera": {"lens": "85mm"}}',
            "mug, spoon",
        ),
        ('{"prompt": "a tower and a bridge", "negative": "people, text"}', "tower, bridge"),
        (
            "{'subject': 'a green parrot', 'background': 'a brick wall', 'aspect_ratio': '16:9'}",
            "parrot, wall",
        ),
        ('[{"object": "a clay pot"}, {"object": "a bamboo flute"}]', "pot, flute"),
        (
            '{"camera": {"model": "Canon R5"}, "style": ["noir"], "characters": ["a boy", "a goose"]}',
            "boy, goose",
        ),
        ("a {red|blue} balloon over a castle", "balloon, castle"),
        ('{"type": "object", "subject": "a red fox"}', "fox"),
        ('{"type": "object", "scene": {"type": "string", "value": "a fox and a goose"}}', "fox, goose"),
        ('{"objects": [{"type": "vase"}, {"type": "lamp"}]}', "vase, lamp"),
    ],
)
def test_s8_json_of_any_schema(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, core",
    [
        (
            "a bright kitchen, a woman with freckles and red hair, an apron over a shirt, flour on her "
            "hands, a cat on a stool, copper pans above the stove",
            "woman, cat, stool, pans",
        ),
        (
            "The knight has a dented helmet, a torn cloak, a grey beard and tired eyes; his horse drinks "
            "from a stream while a raven watches from a dead tree and a squire polishes a shield.",
            "knight, horse, raven, squire",
        ),
        (
            "An elegant woman with red lips, pale skin, long eyelashes, pearl earrings and a velvet dress "
            "sits at a grand piano, a leopard at her feet, a butler with a tray behind her.",
            "woman, piano, leopard, butler",
        ),
        (
            "On a snowy mountain with dark clouds, a yeti with white fur, blue skin, huge hands and sharp "
            "teeth carries a lantern, two sled dogs pull a sled, and a helicopter flies overhead.",
            "yeti, lantern, dogs, sled, helicopter",
        ),
        (
            "The coach, a tall woman in a tracksuit, shouts from a bench, her whistle on a string; a "
            "swimmer, a diver, a stone statue of an angel and a school of silver fish are under the water.",
            "coach, swimmer, diver, statue, fish",
        ),
        (
            "Steam rises from a black locomotive with red wheels, a porter pushes a trolley, a lady in a "
            "raincoat holds a ticket and a cup of coffee, and a boy blows a whistle.",
            "locomotive, porter, trolley, lady, boy",
        ),
    ],
)
def test_s9_five_places_are_for_things_before_their_parts(text, core):
    assert set(core.split(", ")) <= set(nouns(text))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a rabbit on a turtle's back", "rabbit, turtle"),
        ("a dog at the table's edge", "dog, table"),
        ("a bee on the tip of a dog's nose", "bee, dog"),
        ("a ring on the bride's finger", "ring, bride"),
        ("a toy on the back of a horse", "toy, horse"),
        ("a cat's toy", "toy"),
    ],
)
def test_s10_the_owner_of_a_part_is_the_thing(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a house, isometric, behance, volumetric light, vibrant glow, futuristic design", "house"),
        ("a carp, ukiyo-e, lens flare", "carp"),
        ("wolf, feral, digital illustration, deviantart, smooth shading", "wolf"),
        ("a teapot, art deco, alphonse mucha, hyperdetailed, epic composition, vray", "teapot"),
        ("an old oak, pointillism, saturated, thick paint, museum piece", "oak"),
    ],
)
def test_s11_tags_of_style_name_nothing(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("view from below of a ladder", "ladder"),
        ("vector logo of a fox", "fox"),
        ("professional headshot, a man", "man"),
        ("bird's eye view of a roundabout", "roundabout"),
        ("tattoo design of a snake and a rose", "snake, rose"),
        ("a painting in the style of Van Gogh of a cat", "cat"),
        ("an oil painting in the style of Claude Monet showing a bridge and a boat", "bridge, boat"),
        ("a poster in art deco style of a train", "train"),
        ("a cat in the style of a painting of a dog", "cat"),
        ("please draw me a hippo in a bathtub", "hippo, bathtub"),
        ("a man looking at a painting of a boat", "man, painting, boat"),
    ],
)
def test_s12_kinds_of_image_and_requests_name_nothing(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("rock, paper, scissors", "rock, paper, scissors"),
        ("glass, bottle, water", "glass, bottle, water"),
        ("paper", "paper"),
        ("a house, watercolor, paper", "house"),
        ("1girl, leather, lace", "girl"),
    ],
)
def test_a_material_in_a_list_of_things_is_one(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a horse that isn't wearing a saddle", "horse"),
        ("a street with no cars, trucks or people, just a fox", "street, fox"),
        ("a chef with neither hat nor apron, holding a lobster", "chef, lobster"),
        ("the hall is empty except for a guard and a dog", "hall, guard, dog"),
        ("a room with everything except a bed", "room"),
        ("a bouquet of tulips instead of roses in a jar", "bouquet, tulips, jar"),
    ],
)
def test_what_is_said_not_to_be_there_is_no_subject(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"subject": "a red fox", "prop": "a lantern", "camera": {"lens": "85mm"}}\n```',
        'json\n{"subject": "a red fox", "prop": "a lantern"}',
        'Here is the JSON:\n{"subject": "a red fox", "prop": "a lantern"}',
        'Create an image from this JSON:\n\n```\n["a red fox", "a lantern"]\n```',
    ],
)
def test_s8_json_with_what_a_chat_puts_around_it(text):
    check(text, "fox, lantern")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a (blue square:0), a (red circle:1.2)", "circle"),
        ("a (blue square:0.0) and a star", "star"),
        ("a (blue square:-1) and a star", "star"),
        ("a (blue square:0.5) and a star", "square, star"),
    ],
)
def test_what_a_weight_takes_out_of_the_prompt_is_no_subject(text, expected):
    check(text, expected)


@pytest.mark.parametrize(
    "text", ["a red cup and a blue hat, " * 10, "a red cup, a blue hat, " * 3, "red cup, blue hat\n" * 9]
)
def test_s9_one_of_each_comes_before_a_second_one(text):
    found = nouns(text)
    assert "cup" in found and "hat" in found and len(found) <= 5
    _, left = subjects_of_caption("a red cup and a blue hat, " * 10)
    assert len(left) == 15
    pieces = tokens("a red cup and a blue hat, " * 10)
    (note,) = choose_subjects((), pieces)[1]
    assert note.line == "left out: red cup, blue hat"
