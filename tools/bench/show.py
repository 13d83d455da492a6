"""The numbers as text for people, and as JSON."""

from __future__ import annotations

import json

from .bench import RATIOS, Found

NAMES = {
    "step": "plain step of ComfyUI",
    "published": "the published way",
    "ours": "one update of this pack",
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
    counts, measured = found.counts, found.measured
    ratios = {name: found.ratio(name) for name in RATIOS}
    return {
        **{name: ratio and round(ratio[0], 3) for name, ratio in ratios.items()},
        "memory_vs_published": round(found.memory_vs_published, 4),
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
            "weights_bytes": counts.weights,
            "needed_flops": counts.needed.total,
            "published": vars(counts.published),
            **{f"ours_level_{level}": vars(count) for level, count in counts.ours.items()},
        },
        "import_seconds": round(found.imported.seconds, 3),
        "imported_modules": found.imported.modules,
    }


def as_json(found: Found) -> str:
    return json.dumps(as_dict(found), indent=1)


def as_text(found: Found) -> str:
    facts, counts, measured = found.facts, found.counts, found.measured
    lines = [
        f"{facts['model']} at {facts['size']} px, {facts['precision']} "
        f"(products of our update step: {facts['update_precision']}), "
        f"random weights ({facts['stored']}, {counts.weights / 2**30:.2f} GiB), {facts['date']}",
        f"{facts['machine']}, {facts['device']}, {facts['threads']} threads, ComfyUI {facts['comfyui']}, "
        f"torch {facts['torch']}, Python {facts['python']}, pack {facts['pack']}, "
        f"ComfyUI's attention: {facts['attention']}",
        "",
    ]
    if measured:
        lines += _measured(found)
    lines += ["by counting, one update                  peak MiB   TFLOP  passes  layers read"]
    ways = {
        "the published way": counts.published,
        "this pack": counts.ours[0],
        "  every second block computed twice": counts.ours[1],
        "  every block computed twice": counts.ours[2],
    }
    for name, count in ways.items():
        lines.append(
            f"  {name:36} {count.peak / 2**20:10.0f} {count.flops / 1e12:7.3f} "
            f"{count.forwards:7d} {count.layers:12d}"
        )
    lines += [f"  {'needed':36} {'':10} {counts.needed.total / 1e12:7.3f}", ""]
    added = ", ".join(found.imported.modules) or "nothing"
    lines += [
        f"importing the pack: {1000 * found.imported.seconds:.0f} ms, adds {added} besides its own modules"
    ]
    return "\n".join(lines)


def _measured(found: Found) -> list[str]:
    measured = found.measured
    lines = ["                              seconds: median (least to most)   peak MiB on top"]
    for name, seconds in sorted(measured.seconds.items()):
        peak = f"{measured.peak[name] / 2**20:10.0f}" if name != "floor" else ""
        middle = sorted(seconds)[len(seconds) // 2]
        lines.append(
            f"  {NAMES[name]:26} {middle:12.3f} ({min(seconds):.3f} to {max(seconds):.3f}) {peak:>14}"
        )
    lines.append("")
    for name in RATIOS:
        ratio = found.ratio(name)
        if ratio:
            lines.append(f"  {name:18} {ratio[0]:6.2f}  ({ratio[1]:.2f} to {ratio[2]:.2f})")
    lines += [
        f"  {'memory_vs_published':18} {found.memory_vs_published:6.3f}",
        "",
        "where the time of one update step goes (profiled, which slows it a little):",
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
