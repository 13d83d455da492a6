"""Parsing with spaCy for users who have it and request it by @spacy; nothing else imports spaCy."""

from __future__ import annotations

import importlib
from functools import lru_cache

from .syngen_rules import ParsedWord

MODEL = "en_core_web_trf"
"""The model SynGen uses."""
BUILT_IN = "or remove @spacy from the subjects field: the built-in parser needs nothing"


@lru_cache(maxsize=64)
def parse(text: str, model: str = MODEL) -> tuple[ParsedWord, ...]:
    """The dependency parse of a text by the named spaCy model.

    A run needs the parse of one prompt several times, and loading a model takes seconds: parses are cached,
    models are not. Raises ValueError that names what is not installed, and the cure.
    """
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise ValueError(
            f"@spacy requests spaCy, but ComfyUI's Python cannot import it ({error}). Install it there with: "
            f"pip install spacy, then: python -m spacy download {model}; {BUILT_IN}."
        ) from error
    try:
        parser = spacy.load(model)
    except OSError as error:
        raise ValueError(
            f"spaCy's model '{model}' is not installed. Install it in ComfyUI's Python with: "
            f"python -m spacy download {model}; {BUILT_IN}."
        ) from error
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"spaCy's model '{model}' cannot be loaded: {error}. Install it again in ComfyUI's Python with: "
            f"python -m spacy download {model}; {BUILT_IN}."
        ) from error
    return tuple(ParsedWord(token.text, token.pos_, token.dep_, token.head.i) for token in parser(text))
