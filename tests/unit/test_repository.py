"""Rules read from the source: what the pack never does, how long a file and a function may be, which names
are gone.
"""

import ast
import re
from pathlib import Path

from ..support.import_graph import CLONE, PACK_FILES, imports, tree_of

TEXTS = sorted(
    file
    for pattern in ("*.md", "*.toml", ".ci/run", "docs/**/*.md", "web/**/*.md", "web/**/*.js")
    for file in CLONE.glob(pattern)
)
CODE = [
    *PACK_FILES,
    *(file for folder in ("tests", "tools") for file in sorted((CLONE / folder).rglob("*.py"))),
]
MAX_LINES = 350

NEVER_IMPORTED = {
    "subprocess", "multiprocessing", "socket", "ssl", "urllib", "http", "ftplib", "smtplib", "asyncio",
    "pickle", "shelve", "marshal", "ctypes",
}  # fmt: skip
NEVER_CALLED = {"print", "eval", "exec", "compile", "__import__", "input", "breakpoint"}


def test_the_pack_does_not_print_execute_fetch_or_unpickle():
    faults = []
    for file in PACK_FILES:
        for line, module, _level in imports(file):
            if module.split(".")[0] in NEVER_IMPORTED:
                faults.append(f"{file}:{line} imports {module}")
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in NEVER_CALLED:
                    faults.append(f"{file}:{node.lineno} calls {node.func.id}")
    assert not faults, "\n".join(faults)


def test_a_file_of_the_pack_begins_with_what_it_is_for():
    trees = {file: tree_of(file) for file in PACK_FILES}
    faults = [file for file, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert not faults, f"without a docstring: {faults}"


def test_files_are_short():
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in PACK_FILES + TEXTS}
    faults = [f"{file} has {lines} lines" for file, lines in lengths.items() if lines > MAX_LINES]
    assert not faults, "\n".join(faults)


def test_python_files_are_ascii():
    faults = [
        f"{file}:{number}"
        for file in CODE
        if not (content := file.read_bytes()).isascii()
        for number, line in enumerate(content.splitlines(), 1)
        if not line.isascii()
    ]
    assert not faults, f"not ASCII, use an escape (backslash u and four digits): {faults}"


def test_every_node_file_is_listed_and_offers_nodes():
    """A file in nodes/ with a NODES list that nodes/__init__.py forgets would be a node that nobody sees."""
    listed = {module for _line, module, _level in imports(CLONE / "nodes" / "__init__.py")}
    for file in (CLONE / "nodes").glob("*.py"):
        if file.stem != "__init__" and "\nNODES = [" in file.read_text("utf-8"):
            assert file.stem in listed, f"nodes/{file.name} has NODES but nodes/__init__.py does not list it"


MAX_FUNCTION = 40
LONGER = {
    "define_schema": "a node's inputs, one after the other",
    "refine": "Latent Refine's loop",
    "saga": "SAGA's loop",
}
"""Functions of the pack that may be longer, because they are one thing."""


def conditional_expressions(statement: ast.stmt) -> int:
    """Conditional expressions in a statement, those of statements inside it left out."""
    found, todo = 0, list(ast.iter_child_nodes(statement))
    while todo:
        node = todo.pop()
        if not isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):
            found += isinstance(node, ast.IfExp)
            todo += ast.iter_child_nodes(node)
    return found


def test_a_statement_has_at_most_one_conditional_expression():
    faults = [
        f"{file}:{node.lineno}"
        for file in PACK_FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.stmt) and conditional_expressions(node) > 1
    ]
    assert not faults, faults


def test_conditional_expressions_are_counted():
    (nested,) = ast.parse("x = [a if b else c for a in (d if e else f)]").body
    (outer,) = ast.parse("if a if b else c:\n    x = 1 if y else 2").body
    assert (conditional_expressions(nested), conditional_expressions(outer)) == (2, 1)


def test_functions_are_short():
    faults = [
        f"{file}:{node.lineno} {node.name}"
        for file in PACK_FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name not in LONGER
        if node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not faults, f"longer than {MAX_FUNCTION} lines: {faults}"


GONE = {
    "Acting": "RecipeRun",
    "PlannedAct": "PlannedRecipe",
    "Worked": "StepResult",
    "Ladder": "CheckpointPolicy",
    "rung": "level",
    "few_places": "small_conv",
    "convolved": "conv2d_gemm",
    "cast_again": "recast_weights",
    "as_then": "restored_capture",
    "Enough": "RecomputeDone",
    "surroundings": "forward_context",
    "RemembersPrompts": "TokenRecordingCLIP",
    "prompt_reader": "token_alignment",
    "token_rows": "encoder_trace",
    "Numberer": "PositionEncoder",
    "Blind": "VisionStub",
    "turns_prediction": "modifies_prediction",
    "replaces_latent": "starts_from_new_noise",
    "self_rows.py": "_self_attention.py",
    "Watched": "WatchedModel",
    "NOT_A_SETTING": "field metadata",
    "report_text": "report/text.py",
    "spelling": "detokenize",
    "host/layouts": "host/architectures",
    "pictures/": "report/drawing/",
    "optimise/presets": "optimise/methods",
    "optimise/settings": "optimise/overrides",
    "optimise/chance": "optimise/seeded_noise",
    "how-manieth": "1-based index",
    "mended": "fixed",
    "processor": "CPU",
    "reroll": "new seed",
    "rerolls": "new seeds",
    "steered": "modify_prediction",
}
"""Names and words that the pack has given up, and what stands in their place."""


def gone(text: str) -> list[str]:
    """What a text has of the names that were given up."""
    return [
        f"'{old}' at character {found.start()}; write {new}"
        for old, new in GONE.items()
        if old in text and (found := re.search(rf"(?<![A-Za-z.]){re.escape(old)}(?![A-Za-z])", text))
    ]


def test_no_name_comes_back_that_was_given_up():
    files = [*CODE, *TEXTS, *sorted((CLONE / "locales").rglob("*.json"))]
    faults = [
        f"{file}: {fault}"
        for file in files
        if file != Path(__file__)
        for fault in gone(file.read_text("utf-8"))
    ]
    assert not faults, "\n".join(faults)


def test_a_name_that_was_given_up_is_found():
    assert gone("a Ladder of steps") == ["'Ladder' at character 2; write CheckpointPolicy"]
    assert gone("Laddering, x.Ladder") == []
