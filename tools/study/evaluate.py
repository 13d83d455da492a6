"""What one method does to the images of an embedded model, with its settings varied on the same plain images.

    python3 tools/dev.py study eval --objects 3 --pairs 300
    python3 tools/dev.py study eval --objects 3 --pairs 100 --split validation --at-step 0 2 4 6 8 12
    python3 tools/dev.py study eval --model sd3 --objects 3 --pairs 300

What is not given is as in the demo workflow (sd) or in `data.SD3_NODE` (sd3). Several values of --at-percent,
--at-step, --pieces or --levels are compared on the same plain images.
"""

import argparse
import itertools
from statistics import fmean

from tools.workflows.demo import shipped_settings

from .data import PLAIN, SD3_NODE, Study, Way
from .store import Store
from .tables import about, compared, heading, markdown, per_batch, seconds_per_image, share

PAIRS, OBJECTS = 300, (3,)
HEADS = ("", "plain (95 %)", "refined (95 %)", "points", "McNemar p", "fixed", "broken")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this study has."""
    parser.add_argument("--method", help="a method's name as on the node (default: the demo workflow's)")
    parser.add_argument("--at-percent", type=float, nargs="+", help="default: what the demo workflow has")
    parser.add_argument("--at-step", type=int, nargs="+", help="instead of --at-percent, counted from 0")
    parser.add_argument(
        "--pieces", nargs="+", choices=("noun", "phrase"), help="words read (default: the method's)"
    )
    parser.add_argument("--levels", nargs="+", default=["auto"], help="attention levels: auto, 2, 4 or 2,4")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="as on the node: 1 = the method's own numbers"
    )
    parser.add_argument(
        "--overrides", default="", help='the method\'s numbers, such as "shifts=20, blocks=1-3"'
    )


def ways(args: argparse.Namespace) -> tuple[Way, ...]:
    """Plain, and one way per combination of what was given several times."""
    from .embedded import has_moment

    node = shipped_settings() if args.model == "sd" else SD3_NODE
    method = args.method or node["method"]
    own = "" if args.method else node["overrides"]
    moments = [("at_step", step, f"step {step}") for step in args.at_step or ()]
    if not moments and (args.at_percent or has_moment(method)):
        shares = args.at_percent or [node["at_percent"]]
        moments = [("at_percent", percent, f"{100 * percent:g} %") for percent in shares]
    moments = moments or [("at_percent", None, "its own moments")]
    found = [Way()]
    for (field, at, when), pieces, levels in itertools.product(moments, args.pieces or [None], args.levels):
        chosen = {"pieces": pieces, "levels": levels if levels != "auto" else None}
        typed = [own, args.overrides, *(f"{key}={value}" for key, value in chosen.items() if value)]
        name = ", ".join([f"at {when}", *(f"{key} {value}" for key, value in chosen.items() if value)])
        overrides = ", ".join(filter(None, typed))
        found.append(Way(name, method, **{field: at}, overrides=overrides, strength=args.strength))
    return tuple(found)


def tables(study: Study, store: Store) -> list[str]:
    """Per way: objects and colours against plain, passes per batch, loss of the first recipe, seconds."""
    first = study.ways[1]
    lines = [
        f"## {first.method}",
        "",
        *about(study, f"strength {first.strength:g}"),
    ]
    for objects in study.objects:
        images = store.images(study, objects)
        lines += [heading(f"{objects} objects", images, study), ""]
        plain = images[PLAIN]
        for way in study.ways[1:] if plain else ():
            made = images[way.name]
            rows = []
            for what in ("objects", "colours"):
                found = compared(plain, made, what)
                numbers = f"{found.points:+.1f}", f"{found.p:.2g}", str(found.fixed), str(found.broken)
                rows.append((what, share(plain, what), share(made, what), *numbers))
            steps = sorted({r.step for r in made if r.step is not None})
            losses = (fmean(getattr(r, name) for r in made) for name in ("first_loss", "last_loss"))
            passes = (f"{per_batch(made, f'batch_{name}s'):g} {name}" for name in ("forward", "backward"))
            at = f"step {', '.join(map(str, steps))}" + (f"; {way.overrides}" if way.overrides else "")
            lines += [f"{way.name} ({at}), {' and '.join(passes)} passes:", ""]
            lines += markdown(HEADS, rows)
            lines += [
                f"Loss {' -> '.join(f'{loss:.3f}' for loss in losses)}; seconds per image: "
                f"plain {seconds_per_image(plain):.2f}, refined {seconds_per_image(made):.2f}.",
                "",
            ]
    return lines
