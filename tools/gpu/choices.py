"""What follows from the numbers, as a table; printed as a patch for a person to read, and never applied."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from tools.host_env.paths import CLONE

FILE = CLONE / "docs" / "gpu-choices.md"
HEAD = (
    "# Choices by measurement",
    "",
    "Printed by `tools/dev.py gpu`. A choice that is not the pack's today needs a person.",
    "",
)
WORTH = 0.9
"""A way that takes less than this part of the other's time is worth its trouble."""


@dataclass(frozen=True)
class Choice:
    """question: what is chosen. choice: what the numbers say. because: the numbers."""

    question: str
    choice: str
    because: str


def choices(results: dict[str, dict]) -> list[Choice]:
    """One row for each question that these results can answer."""
    rows: list[Choice] = []
    for name, result in results.items():
        found = result["found"]
        if name.startswith("vram_") and name.endswith("_dynamic"):
            rows.append(_dynamic(name.split("_")[1], found))
        elif name.startswith(("compile_", "graph_")):
            rows.append(_faster(*name.split("_", 1), found))
        elif name == "attention":
            rows += [
                _attention(case, numbers)
                for case, numbers in found.items()
                if isinstance(numbers, dict) and len(numbers) > 2
            ]
    return [row for row in rows if row is not None]


def _dynamic(model: str, found: dict) -> Choice:
    """The fastest way whose gradients were right wherever it was tried."""
    ways: dict[str, list[dict]] = {}
    for label, numbers in found.items():
        if "," in label:
            ways.setdefault(label.split(",")[0], []).append(numbers)
    right = {way: tried for way, tried in ways.items() if all(not n["faults"] and "pass" in n for n in tried)}
    said = []
    for way, tried in ways.items():
        if way in right:
            said.append(f"{way} {' / '.join(format(n['pass']['seconds'], '.2f') for n in tried)} s")
        else:
            bad = sum("pass" not in n or bool(n["faults"]) for n in tried)
            said.append(f"{way} wrong or failed in {bad} of {len(tried)}")
    best = min(right, key=lambda way: sum(n["pass"]["seconds"] for n in right[way]), default="none")
    return Choice(f"dynamic VRAM, {model}", best, ", ".join(said))


def _faster(way: str, model: str, found: dict) -> Choice:
    """torch.compile or CUDA graphs: only if the numbers hold and it is worth its trouble."""
    eager, numbers = (
        found.get("eager", {}).get("seconds"),
        found.get({"compile": "compiled", "graph": "cuda_graph"}[way], {}),
    )
    question = f"{way}, {model}"
    if eager is None or "seconds" not in numbers:
        reason = (
            numbers.get("error") or numbers.get("left_out") or numbers.get("out_of_memory") or "not reached"
        )
        return Choice(question, "no", str(reason).splitlines()[0][:120])
    worth = not numbers["faults"] and numbers["seconds"] < WORTH * eager
    because = f"{numbers['seconds']:.3f} s, eager {eager:.3f} s, cosine {numbers['cosine']:.6f}"
    return Choice(question, "yes" if worth else "no", because)


def _attention(case: str, numbers: dict) -> Choice:
    ran = {label: n for label, n in numbers.items() if "cosine" in n and n["cosine"] > 0.99}
    today = ran.get("one_call, as torch chooses", {"seconds": float("inf")})
    best = min(ran, key=lambda label: ran[label]["seconds"], default="none")
    if best != "none" and ran[best]["seconds"] > WORTH * today["seconds"]:
        best = "one_call, as torch chooses"
    because = ", ".join(
        f"{label} {1000 * n['seconds']:.1f} ms"
        for label, n in sorted(ran.items(), key=lambda i: i[1]["seconds"])[:4]
    )
    return Choice(f"joint attention, {case}", best, because)


def as_patch(card: str, rows: list[Choice], file: Path = FILE) -> str:
    """A patch that would write this card's table into the file; "" if it says so already."""
    old = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    lines = [line.rstrip("\n") for line in old] or list(HEAD)
    title = f"## {card}"
    if title in lines:  # replace this card's table
        at = lines.index(title)
        end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
        lines[at:end] = []
    table = ["| question | choice | because |", "|---|---|---|"]
    table += [f"| {row.question} | {row.choice} | {row.because} |" for row in rows]
    new = [f"{line}\n" for line in (*lines, title, "", *table, "")]
    name = file.relative_to(CLONE) if file.is_relative_to(CLONE) else file.name
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))
