"""The catalogues of messages: complete in every language, with the same values filled in, and found."""

import json
import re

import pytest

from gsn_ops.language import Catalogue, aliases, catalogue, drawn_in, in_picture, translated
from gsn_ops.report.verdict import cure_first

from ..support.user_texts import CLONE, TEXTS, is_message

LANGUAGES = ("fr", "ja", "zh")
IN_EACH = pytest.mark.parametrize("language", LANGUAGES)
SOURCES = "\n".join(path.read_text("utf-8") for path in sorted((CLONE / "gsn_ops").rglob("*.py")))


def key(text: str) -> str:
    """A text of the sources as a catalogue has it: ... for every value, braces as a person sees them."""
    filled = re.sub(r"(?<!{){[^{}]*}(?!})", "...", text)
    return filled.replace("{{", "{").replace("}}", "}")


MESSAGES = {key(text) for text in TEXTS if is_message(text)}


def stored(language: str) -> dict[str, str]:
    return json.loads((CLONE / "locales" / language / "messages.json").read_text("utf-8"))


LATE = "at_percent 1 is the end of sampling, where no step is left: choose a smaller at_percent."


def test_there_is_a_catalogue_for_every_language_that_the_nodes_have():
    folders = {path.parent.name for path in (CLONE / "locales").glob("*/nodeDefs.json")}
    assert folders == {"en", *LANGUAGES}


@IN_EACH
def test_m12_every_message_is_translated(language):
    missing = sorted(MESSAGES - set(stored(language)))
    assert not missing, f"translate in locales/{language}/messages.json:\n" + "\n".join(missing)


@IN_EACH
def test_every_translation_has_the_values_of_its_message(language):
    for message, text in stored(language).items():
        named = {int(number) for number in re.findall(r"{(\d+)}", text)}
        assert named == set(range(message.count("..."))), message
        assert text.strip() and text != message, message


@IN_EACH
def test_no_translation_is_of_a_message_that_is_gone(language):
    for message in set(stored(language)) - MESSAGES:
        assert all(word in SOURCES for word in re.findall("[A-Za-z]{4,}", message)), message
    assert set(stored(language)) == set(stored(LANGUAGES[0]))


@pytest.mark.parametrize(
    "text, words",
    [
        ("green star was missing (0.01), now 0.70", "green star manquait (0.01), puis 0.70"),
        (
            "nothing was missing (least: red cat 0.62, now 0.97); cost +0.4 images",
            "rien ne manquait (le plus faible : red cat 0.62, puis 0.97); co\u00fbt +0.4 images",
        ),
        ("nothing was missing. Note: left out: a, b", "rien ne manquait. Remarque : omis : a, b"),
        ("red circle, blue square; at step 3 of 20", "blue square; \u00e0 l'\u00e9tape 3 sur 20"),
        ("more attention for red circle in 1 of 3 images, star in 2 of 3 images", "star dans 2 images sur 3"),
        ("more attention for red circle, star", "plus d'attention pour red circle, star"),
        ("before: star there (0.69), more attention for a, b", "), plus d'attention pour a, b"),
        (
            f"more attention for a, b, no update steps: {LATE}",
            "a, b, aucune mise \u00e0 jour : at_percent 1 est",
        ),
        ("update step 2 of 50", "mise \u00e0 jour 2 sur 50"),
        ("There is no subject 'cat' in this report; its subjects are: dog, tree.", "\u00ab cat \u00bb"),
        ("method is 'x', which nobody wrote", "method is 'x', which nobody wrote"),
    ],
)
def test_a_line_is_translated_as_far_as_it_is_known(text, words):
    assert words in translated(text, "fr")


@IN_EACH
def test_m12_a_list_in_a_message_ends_where_the_next_message_begins(language):
    """The cause of a skip was in English, and in Japanese and Chinese inside of the sentence before it."""
    line = f"more attention for red circle, star, no update steps: {LATE}"
    assert "choose" not in translated(line, language) and "step" not in translated(line, language)
    assert translated(line, language).startswith(translated("more attention for red circle, star", language))
    error = translated("overrides, character 5: there is no setting 'x'. Keys: y.", language)
    assert "character" not in error and "5" in error, error


@IN_EACH
def test_the_cure_of_no_update_steps_stands_first(language):
    line = f"no update steps: {cure_first(LATE)}; more attention for red circle, star"
    told = translated(line, language)
    assert "choose" not in told and "step" not in told, told
    assert told.index("at_percent") < told.index("red circle")


def test_a_cure_that_stands_first_stays_first():
    text = (
        "Skipped: raise denoise (or start earlier), choose a later step, or connect this node to the model "
        "of the steps before (of two Wan 2.2 models the high-noise one) (the wanted noise level "
        "(at_percent 0.18 = sigma 5.59) is not in this run, which goes from sigma 3 to 0.03 in 6 steps; it "
        "starts with too little noise)"
    )
    line = translated(text, "fr")
    assert line.startswith("Ignor\u00e9 : augmentez denoise") and "at_percent 0.18 = sigma 5.59" in line, line
    assert translated(text, "zh").startswith("\u5df2\u8df3\u8fc7\uff1a\u8bf7\u63d0\u9ad8 denoise")


def test_m4_a_verdict_fits_a_node_in_every_language():
    for language in LANGUAGES:
        line = translated("red circle was weak (0.35), now 0.80; still weak: star (0.20, now 0.30)", language)
        assert len(line) <= 90 and "weak" not in line, line


def test_english_and_unknown_languages_keep_the_text():
    for language in ("en", "eo", "", "../fr", "zh/../fr"):
        assert translated("nothing was missing", language) == "nothing was missing"
    assert catalogue("en") is None
    assert translated("nothing was missing", "zh-TW") == translated("nothing was missing", "zh")


def test_the_more_specific_message_wins_and_values_keep_their_order():
    made = Catalogue({"... was ...": "{1} < {0}", "... was a cat": "chat : {0}", "red": "rouge"})
    assert made.translate("red was a cat") == "chat : rouge"
    assert made.translate("A was red") == "rouge < A"


@pytest.mark.parametrize("word", ("syngen", "boxdiff", "negative", "\u7f3a\u5931", "objet manquant"))
def test_m5_the_main_node_is_found_by_methods_and_in_every_language(word):
    assert word in aliases("GSNNursing")


@IN_EACH
def test_m5_every_node_has_words_in_every_language(language):
    folder = CLONE / "locales" / language
    nodes = json.loads((folder / "nodeDefs.json").read_text("utf-8"))
    words = json.loads((folder / "aliases.json").read_text("utf-8"))
    assert set(words) == set(nodes) and all(words.values())


@IN_EACH
def test_m12_words_in_pictures_are_translated_where_a_font_has_the_letters(language, monkeypatch):
    from gsn_ops.report.drawing import canvas

    words = ("predicted before", "Attention", "no update step was made", "seed", "nothing was missing")
    with drawn_in(language):
        told = [in_picture(word) for word in words]
        monkeypatch.setattr(canvas, "_has_glyphs", lambda font, text: True)
        canvas._name_of_font.cache_clear()
        assert [canvas.told(word) for word in words] == told
        monkeypatch.setattr(canvas, "_has_glyphs", lambda font, text: text.isascii())
        canvas._name_of_font.cache_clear()
        drawn = [canvas.told(word) for word in words]
        canvas._name_of_font.cache_clear()
    assert drawn == [b if b.isascii() else a for a, b in zip(words, told, strict=True)]
    assert all(a != b for a, b in zip(words, told, strict=True) if (language, a) != ("fr", "Attention"))
    assert in_picture("seed") == "seed"  # after the block


@IN_EACH
def test_a_word_of_pictures_is_no_translation_of_a_choice(language):
    text = "when is 'x': choose one of after, before."
    assert translated(text, language).count("after, before") == 1


def names(language: str) -> dict[str, str]:
    """Node id -> the title on the canvas, where it has several words."""
    nodes = json.loads((CLONE / "locales" / language / "nodeDefs.json").read_text("utf-8"))
    return {node: told["display_name"] for node, told in nodes.items()}


@IN_EACH
def test_m12_a_node_has_one_name_in_messages_and_on_the_canvas(language):
    english = {node: title for node, title in names("en").items() if " " in title}
    for message, text in stored(language).items():
        meant = {node: title for node, title in english.items() if title in message}
        for node, title in meant.items():
            within = any(title != other and title in other for other in meant.values())
            assert within or names(language)[node].lower() in text.lower(), (message, text)


@IN_EACH
@pytest.mark.parametrize(
    "title", ("Load Checkpoint", "Load CLIP", "Create Bounding Boxes", "Load Diffusion Model")
)
def test_m12_nodes_of_comfyui_are_called_as_the_page_calls_them(language, title):
    for file in ("messages.json", "nodeDefs.json"):
        shown = json.loads((CLONE / "locales" / language / file).read_text("utf-8"))
        assert title not in " ".join(map(str, shown.values())), (file, title)
