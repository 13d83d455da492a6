"""One version everywhere, and a change log that a release can be cut from."""

import re
from pathlib import Path

import gsn_ops
from tools.host_env.paths import CLONE

CHANGES = (CLONE / "CHANGELOG.md").read_text("utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_pack_the_registry_and_the_change_log_name_one_version():
    project = Path(CLONE / "pyproject.toml").read_text("utf-8")
    (version,) = re.findall(r'^version = "(\d+\.\d+\.\d+)"$', project, re.MULTILINE)
    newest = re.findall(r"^## \[(\d.*?)\]", CHANGES, re.MULTILINE)[0]
    assert gsn_ops.__version__ == version == newest


def test_every_release_in_the_change_log_has_a_date_and_kinds_of_changes():
    for heading in re.findall(r"^## (.+)$", CHANGES, re.MULTILINE):
        date = r"\d{4}-\d{2}-\d{2}|not released yet"
        assert re.fullmatch(rf"\[Unreleased\]|\[\d+\.\d+\.\d+\] - ({date})", heading), heading
    assert set(re.findall(r"^### (.+)$", CHANGES, re.MULTILINE)) <= KINDS
