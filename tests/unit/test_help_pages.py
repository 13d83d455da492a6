"""Help pages in other languages: made of the translated tooltips, all there and current."""

import pytest

from tools import help_pages

PAGES = help_pages.pages()


@pytest.mark.parametrize("file", PAGES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_m12_a_page_is_there_and_current(file):
    assert file.is_file() and file.read_text("utf-8") == PAGES[file], (
        "stale: run `python3 tools/dev.py run -m tools.help_pages --write`"
    )


def test_every_language_has_all_words_and_its_own():
    first, *others = (help_pages.stored(language, "help.json") for language in help_pages.LANGUAGES)
    assert help_pages.LANGUAGES == ["fr", "ja", "zh"]
    assert all(set(other) == set(first) for other in others)
    assert all(text != key for words in (first, *others) for key, text in words.items())
    assert all(
        text.count("{}") == key.count("{}") for words in (first, *others) for key, text in words.items()
    )
