r"""The part of a prompt in which things are named, as text of the same length.

Blanked are tags of networks, embeddings, weights, text to be painted (in quotes), the keys of JSON and of
"key: value" lines, and values that describe camera, light or style. A line feed in the result ends a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .structure_words import ANY_KEY, IGNORED_KEYS, NEGATIVE_KEYS, SCHEMA_TYPES, TEXT_KEYS, THING_KEYS

BREAK = "\n"
NETWORKS_AND_WEIGHTS = re.compile(
    r"<[^<>\n]{1,200}>"  # <lora:name:1>
    r"|\bembedding\s*:\s*\S+"
    r"|\b(?:rating|source|artist|score)\s*:\s*\w+"
    r"|\\\([^()]*\\\)|(?<![^,\n])\s{0,9}\( [^()]* \)(?=\s*(?:,|$))"  # a tag in parentheses: "\(series\)"
    r"|\([^()\n]{1,200}:\s*(?:-\s*[\d.]+|0*\.?0+)\s*\)"  # taken out by its weight: "(cat:0)"
    r"|:\s*\d*\s*\.?\s*\d+\s*(?=[)\]])"  # the weight of "(cat:1.3)", the time of "[cat:dog:0.4]"
    # a qualifier: "saber \(fate\)"
    r"|(?<=\w)\s{0,9}\\?\((?![^()]*:\s*[\d.])[^()]{1,200}\\?\)(?=\s*(?:,|$))",
    re.IGNORECASE,
)
QUOTES = re.compile(
    r'"[^"]{1,300}"'
    "|\u201c[^\u201c\u201d]{1,300}\u201d"
    "|\u201e[^\u201e\u201c\u201d]{1,300}[\u201c\u201d]"
    "|\u00ab[^\u00ab\u00bb]{1,300}\u00bb"
    "|\u300c[^\u300c\u300d]{1,300}\u300d"
    r"|(?<![\w)])'(?!s\b)(?:[^'\n]|(?<=\w)'(?=\w)){1,80}'(?!\w)"
    "|(?<!\\w)\u2018[^\u2018\u2019\n]{1,80}\u2019(?!\\w)"
)
JSON_START = re.compile(
    r"(?:[^{\[\n]{0,80}\bjson\b[^{\[\n]{0,20}\n)?\s*(?:```\w{0,9}\s*)?"
    r"[\[{][\s\[{]*(?:\"[^\"\n]{1,80}\"|'[^'\n]{1,80}')\s*[:,\]]",
    re.IGNORECASE,
)
"""JSON, also with what a chat puts around it: "```json", "Here is the JSON:"."""
JSON_TOKEN = re.compile(r"(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'(?=\s*[:,\]}]))(\s*:)?|([\[{])|([\]}])")
KEY = re.compile(
    rf"(?:(?:^|(?<=[.;\n|,]))[ \t\-*#]{{0,9}}(?:\*\*)?({ANY_KEY})(?:\*\*)?\s{{0,9}}[:=](?!/)(?:\*\*)?"
    rf"|\[({ANY_KEY})\]:?)",
    re.IGNORECASE,
)
LINE_KEY = re.compile(r"^[ \t\-*]{0,9}([A-Za-z][\w /-]{0,24}):(?=[ \t]|$)", re.MULTILINE)
LONG_LINE = 60
"""Characters of a line after which its end may be a mere wrap."""


def readable(text: str) -> str:
    """The text with everything blanked in which no thing is named; same length."""
    shown = list(text)
    if JSON_START.match(text):
        _blank_json(text, shown)
    else:
        _blank_networks(text, shown)
        _blank_quotes(text, shown)
        _blank_keys(text, shown)
    _blank_line_ends(text, shown)
    return "".join(shown)


def as_sentences(text: str) -> str:
    """The readable text with a full stop where a phrase ends, for parsers of sentences; same length."""
    return readable(text).replace(BREAK, ".")


def _blank(shown: list[str], start: int, stop: int, mark: str = "") -> None:
    """Blank [start, stop), with a mark in its place if the phrase before it ends there."""
    if stop > start:
        shown[start:stop] = mark.ljust(stop - start)


def _blank_networks(text: str, shown: list[str]) -> None:
    for match in NETWORKS_AND_WEIGHTS.finditer(text):
        _blank(shown, *match.span())


SPELLED = re.compile(
    r"\b(?:saying|says?|reads?|reading|labell?ed|spell(?:s|ing)|titled)\s+((?:[A-Z]{2,}[!?.]?\s*){1,8}\b)"
)
"""Capitals to be painted: "a banner saying SAVE THE BEES"."""


def _blank_quotes(text: str, shown: list[str]) -> None:
    """Text in quotes is to be painted, unless it is all there is."""
    spans = [match.span() for match in QUOTES.finditer(text)]
    quoted = sum(stop - start for start, stop in spans)
    if 2 * quoted > len(text.strip()) and len(spans) == 1:
        return
    if not text.isupper():
        spans += [match.span(1) for match in SPELLED.finditer(text)]
    for start, stop in spans:
        _blank(shown, start, stop, ",")


def _blank_keys(text: str, shown: list[str]) -> None:
    """The keys of "subject: a cat; style: oil", and what stands behind those that do not name things."""
    keys = [(*match.span(), match[1] or match[2]) for match in KEY.finditer(text)]
    lines = [(*match.span(), match[1]) for match in LINE_KEY.finditer(text)]
    if len(lines) > 1:
        known = {start for start, _, _ in keys}
        keys = sorted({stop: (start, stop, key) for start, stop, key in [*keys, *lines]}.values())
        keys = [key for key in keys if key[0] in known or key in lines]
    for n, (start, stop, key) in enumerate(keys):
        end = keys[n + 1][0] if n + 1 < len(keys) else len(text)
        if is_ignored_key(key):
            newline = text.find("\n", stop, end)
            stop = newline if newline >= 0 else end
        _blank(shown, start, stop, BREAK)


def is_ignored_key(key: str) -> bool:
    """Whether the value of this key names no things: "camera", "negative_prompt", "colour palette"."""
    return bool(_key_words(key) & IGNORED_KEYS)


def _key_words(key: str) -> set[str]:
    return set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower()))


def _blank_json(text: str, shown: list[str]) -> None:
    """All but the strings that name things."""
    kept = list(_json_values(text))
    _blank(shown, 0, len(text), BREAK)
    for start, stop in kept:
        if start:
            shown[start - 1] = BREAK
        shown[start:stop] = re.sub(r"\\[nrt]", "  ", text[start:stop])
        shown[stop : stop + 1] = BREAK


def _json_values(text: str) -> Iterator[tuple[int, int]]:
    """[start, stop) of each string whose keys, its own and those around it, name things."""
    around: list[str] = []
    key = ""
    for match in JSON_TOKEN.finditer(text):
        string, colon, opens, closes = match.groups()
        if string and colon:
            key = string[1:-1]
        elif opens:
            around.append(key)
            key = "" if opens == "{" else key
        elif closes:
            key = around.pop() if around else ""
        elif string and _is_read(key, around, string[1:-1]):
            yield match.start(1) + 1, match.end(1) - 1


def _is_read(key: str, around: list[str], value: str) -> bool:
    """Whether a value of JSON names things, by its key and the keys around it."""
    if any(_key_words(k) & NEGATIVE_KEYS for k in (*around, key)):
        return False
    if key.lower() == "type" and value.lower() in SCHEMA_TYPES:
        return False
    if any(THING_KEYS.fullmatch(word) for word in _key_words(key)) and not is_ignored_key(key):
        return True
    return not any(is_ignored_key(k) or k.lower() in TEXT_KEYS for k in (*around, key))


def _blank_line_ends(text: str, shown: list[str]) -> None:
    """The end of a line ends a phrase, but not where a long line was wrapped."""
    start = 0
    for match in re.finditer(r"\n", text):
        at = match.start()
        line, after = text[start:at].rstrip(), text[at + 1 : at + 2]
        wrapped = len(line) > LONG_LINE and line[-1:].isalnum() and after.islower()
        if shown[at] == "\n" and wrapped:
            shown[at] = " "
        start = at + 1
    for match in re.finditer(r"(?m)^[ \t]*(?:[-*\u2022\u2013\u2014#]+|\(?\d{1,3}[.)](?=\s))", text):
        _blank(shown, *match.span(), BREAK)
