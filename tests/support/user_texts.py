"""Every sentence that the pack can show to a user, read from its sources: errors, remarks, status lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gsn_ops.optimise.methods import METHODS

CLONE = Path(__file__).resolve().parents[2]
MIN_WORDS = 5
"""Shorter literals are labels and parts of sentences, unless they are raised or a remark."""
PLACEHOLDER = "..."
WORD_LIST = re.compile(r"[a-z0-9 '|?\\+-]+")
"""Words for the language half, without any punctuation."""
SETTINGS = re.compile(r"\w+=\S+(, \w+=\S+)*")
"""As typed in overrides."""


def user_texts() -> dict[str, str]:
    """Text, with ... for what is filled in -> "file:line" where it stands first."""
    found: dict[str, str] = {}
    for folder in ("nodes", "gsn_ops"):
        for path in sorted((CLONE / folder).rglob("*.py")):
            for line, text in _texts_of(path, everything=folder == "gsn_ops"):
                found.setdefault(text, f"{path.relative_to(CLONE).as_posix()}:{line}")
    return found


def _texts_of(path: Path, everything: bool) -> Iterator[tuple[int, str]]:
    """(line, text) of a file. everything: all sentences; else what is raised or remarked."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    shown = list(_shown(nodes))
    names = {n.id for statement in shown for n in ast.walk(statement) if isinstance(n, ast.Name)}
    constants = [a for a in tree.body if isinstance(a, ast.Assign) and literal(a.value)]
    shown += [a for a in constants if names & {ast.unparse(a.targets[0])}]
    raised = {id(node) for statement in shown for node in ast.walk(statement)}
    ignored = {id(node) for unseen in _unseen(nodes) for node in ast.walk(unseen)}
    inner: set[int] = set()
    for node in nodes:
        text = None if id(node) in inner | ignored else literal(node)
        if text is None or (WORD_LIST.fullmatch(text) and "subjects" in path.parts):
            continue
        inner |= {id(child) for child in ast.walk(node)} - {id(node)}
        if SETTINGS.fullmatch(text):
            continue
        words = len(re.findall(r"[^\W\d_]{2,}", text))
        if words >= MIN_WORDS and (everything or id(node) in raised):
            yield node.lineno, text
        elif words >= 2 and id(node) in raised and " " in text:
            yield node.lineno, text


def literal(node: ast.AST) -> str | None:
    """A text, or one with parts that are filled in (...); None for anything else."""
    if isinstance(node, ast.Constant):
        return re.sub(r"{\w*}", PLACEHOLDER, node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else PLACEHOLDER for v in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = literal(node.left), literal(node.right)
        if left is not None or right is not None:
            return (left or PLACEHOLDER) + (right or PLACEHOLDER)
    return None


def _shown(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """What is raised, remarked, or told by an output that is not available."""
    for node in nodes:
        if isinstance(node, ast.Raise):
            yield node
        if isinstance(node, ast.Call) and _called(node) in ("Remark", "Absent"):
            yield node


def _called(call: ast.Call) -> str:
    """The name of what is called, "" for what is no name with at most one dot."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        return f"{call.func.value.id}.{call.func.attr}"
    return ""


def _unseen(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Docstrings, log lines, assertions, patterns and word lists."""
    for node in nodes:
        for statement in getattr(node, "body", ()) if isinstance(getattr(node, "body", ()), list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement
        if isinstance(node, ast.Assert):
            yield node
        if isinstance(node, ast.Call):
            name = _called(node)
            if name.startswith("log.") or name == "re.compile":
                yield node
            if isinstance(node.func, ast.Attribute) and node.func.attr == "split":
                yield node.func.value  # a list of words


TEXTS = user_texts()
NOT_MESSAGES = (
    r"(ours|published)\b.*",  # where a default of a model family comes from, in the report
    r"(, the text tokens of|middle and first up block).*",  # what a report says it read
    r"Loss over the update steps|(no|No|Nothing to mend: .*) update step was made\.?",  # in pictures
    r"\.\.\.: \.\.\. wants a \.\.\., not '\.\.\.'\.",  # two rows: whole numbers and others
    r"[\w.]+",  # names of modules and weights
    r"mkldnn::.*|gsn-tiny-.*",
    r"a language in Cyrillic letters",  # what a remark is filled with
    r"\(\?.*",  # patterns of the language half
    r"(artifacts, blurry|several, a crowd).*",  # negative prompts
    r"(You plan where things stand|This was the last layout).*",  # what an LLM is told
)


def is_message(text: str) -> bool:
    """Whether a text of TEXTS is one for the person: no label of a chart, no word for an LLM."""
    if TEXTS.get(text, "").startswith("gsn_ops/layout/examples.py"):
        return False  # what an LLM is shown
    return text not in METHODS and not any(re.fullmatch(p, text, re.DOTALL) for p in NOT_MESSAGES)
