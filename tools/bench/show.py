"""The numbers as text for a person, and as JSON."""

from __future__ import annotations

import json

from .bench import RATIOS, Found

NAMES = {
    "step": "plain step of the host",
    "naive": "the published way",
    "ours": "one shift of this pack",
    "floor": "needed products alone",
}
FAMILIES = (  # of operators, by a part of their name; the first that fits
    ("attention", "attention"),
    ("convolutions", "conv"),
    ("linear layers", "mm"),
    ("linear layers", "linear"),
    ("norms", "norm"),
    ("activations", "lu"),
    ("activations", "silu"),
    ("softmax", "softmax"),
    ("copies and casts", "copy"),
    ("copies and casts", "cat"),
    ("copies and casts", "clone"),
    ("zeros", "fill"),
    ("zeros", "zero"),
    ("sums and products", "add"),
    ("sums and products", "mul"),
    ("sums and products", "sum"),
    ("sums and products", "div"),
)


def families(operators: dict[str, float]) -> dict[str, float]:
    """Seconds by family of operators, most first."""
    found: dict[str, float] = {}
    for name, seconds in operators.items():
        plain = name.removeprefix("aten::")
        family = next(
            (family for family, part in FAMILIES if part in plain and not plain.startswith("autograd")),
            "other",
        )
        found[family] = found.get(family, 0.0) + seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def as_dict(found: Found) -> dict:
    accounts, measured = found.accounts, found.measured
    ratios = {name: found.ratio(name) for name in RATIOS}
    return {
        **{name: ratio and round(ratio[0], 3) for name, ratio in ratios.items()},
        "memory_vs_naive": round(found.memory_vs_naive, 4),
        "spread": {
            name: ratio and [round(ratio[1], 3), round(ratio[2], 3)] for name, ratio in ratios.items()
        },
        **found.facts,
        "status": measured and measured.status,
        "seconds": {name: [round(s, 4) for s in seconds] for name, seconds in measured.seconds.items()}
        if measured
        else None,
        "peak_bytes": measured and measured.peak,
        "profile_seconds": measured
        and {name: round(s, 4) for name, s in families(measured.operators["ours"]).items()},
        "counted": {
            "weights_bytes": accounts.weights,
            "needed_flops": accounts.needed.total,
            "naive": vars(accounts.naive),
            **{f"ours_rung_{rung}": vars(count) for rung, count in accounts.ours.items()},
        },
        "import_seconds": round(found.imported.seconds, 3),
        "imported_modules": found.imported.modules,
    }


def as_json(found: Found) -> str:
    return json.dumps(as_dict(found), indent=1)


def as_text(found: Found) -> str:
    facts, accounts, measured = found.facts, found.accounts, found.measured
    lines = [
        f"{facts['model']} at {facts['size']} px, {facts['precision']} (products of our shift: {facts['shift_precision']}), "
        f"random weights ({facts['stored']}, {accounts.weights / 2**30:.2f} GiB), {facts['date']}",
        f"{facts['machine']}, {facts['device']}, {facts['threads']} threads, ComfyUI {facts['comfyui']}, torch {facts['torch']}, "
        f"Python {facts['python']}, pack {facts['pack']}, the host's attention: {facts['attention']}",
        "",
    ]
    if measured:
        lines += _measured(found)
    lines += ["by counting, one shift                   peak MiB   TFLOP  passes  layers read"]
    ways = {
        "the published way": accounts.naive,
        "this pack": accounts.ours[0],
        "  every second block computed twice": accounts.ours[1],
        "  every block computed twice": accounts.ours[2],
    }
    for name, count in ways.items():
        lines.append(
            f"  {name:36} {count.peak / 2**20:10.0f} {count.flops / 1e12:7.3f} {count.forwards:7d} {count.layers:12d}"
        )
    lines += [f"  {'needed':36} {'':10} {accounts.needed.total / 1e12:7.3f}", ""]
    added = ", ".join(found.imported.modules) or "nothing"
    return "\n".join(
        [
            *lines,
            f"importing the pack: {1000 * found.imported.seconds:.0f} ms, adds {added} beside its own modules",
        ]
    )


def _measured(found: Found) -> list[str]:
    measured, lines = (
        found.measured,
        ["                              seconds: median (least to most)   peak MiB on top"],
    )
    for name, seconds in sorted(measured.seconds.items()):
        peak = f"{measured.peak[name] / 2**20:10.0f}" if name != "floor" else ""
        lines.append(
            f"  {NAMES[name]:26} {sorted(seconds)[len(seconds) // 2]:12.3f} ({min(seconds):.3f} to {max(seconds):.3f}) {peak:>14}"
        )
    lines.append("")
    for name in RATIOS:
        ratio = found.ratio(name)
        if ratio:
            lines.append(f"  {name:18} {ratio[0]:6.2f}  ({ratio[1]:.2f} to {ratio[2]:.2f})")
    lines += [
        f"  {'memory_vs_naive':18} {found.memory_vs_naive:6.3f}",
        "",
        "where the time of one shift goes (profiled, which slows it a little):",
    ]
    spent = families(measured.operators["ours"])
    total = sum(spent.values())
    lines[-1:-1] = [f"the pack says: {measured.status}", ""]
    return [
        *lines,
        *(
            f"  {name:20} {s:8.3f} s {100 * s / total:5.1f} %"
            for name, s in spent.items()
            if s > 0.005 * total
        ),
        "",
    ]
