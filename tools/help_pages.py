"""Help pages in other languages than English, from the translated tooltips and a few words (help.json).

    python3 tools/dev.py run -m tools.help_pages --write

The English pages are written by hand and say more; these have the same inputs, outputs and templates.
"""

import argparse
import json
import re
from pathlib import Path

from tools import method_choice
from tools.host_env.paths import CLONE

PAGES, LOCALES = CLONE / "web" / "docs", CLONE / "locales"
LANGUAGES = sorted(path.parent.name for path in LOCALES.glob("*/help.json"))
DEFAULT = re.compile(r"^\| (\w+) \| ([^|]+?) \|", re.MULTILINE)


def stored(language: str, name: str) -> dict:
    """A file of a language."""
    return json.loads((LOCALES / language / name).read_text("utf-8"))


def page(node: str, language: str) -> str:
    """The help page of a node in a language."""
    names, words = stored(language, "nodeDefs.json")[node], stored(language, "help.json")
    english = (PAGES / f"{node}.md").read_text("utf-8")
    defaults = dict(DEFAULT.findall(english.split("## Outputs")[0]))
    lines = [f"# {names['display_name']}", "", names["description"], ""]
    lines += [f"## {words['Inputs']}", ""]
    for key, told in names["inputs"].items():
        default = defaults.get(key, "").replace("(empty)", "").strip()
        lines.append(f"* **{told['name']}**" + (f" ({default})" if default else "") + f": {told['tooltip']}")
    if node == "GSNNursing":
        lines += ["", method_choice.text(lambda text: words[text]).rstrip()]
    lines += ["", f"## {words['Outputs']}", ""]
    lines += [f"* **{told['name']}**: {told['tooltip']}" for told in names["outputs"].values()]
    templates = re.findall(r"\*\*(\d\d [^*]+)\*\*", english)
    if templates:
        lines += ["", f"## {words['Templates']}", ""]
        lines += [f"* **{name}**" for name in dict.fromkeys(templates)]
    return "\n".join([*lines, "", words[MORE], ""])


MORE = "More in English: the page of this node in the pack's folder web/docs."


def pages() -> dict[Path, str]:
    """File -> its text, for every node and language."""
    return {
        PAGES / node / f"{language}.md": page(node, language)
        for language in LANGUAGES
        for node in stored(language, "nodeDefs.json")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into web/docs")
    args = parser.parse_args()
    for file, text in pages().items():
        if args.write:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
        else:
            print(text)


if __name__ == "__main__":
    main()
