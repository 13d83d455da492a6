"""docs/models.md is what its command makes of the fact tables, ComfyUI and the tiny networks of these
tests.
"""

import pytest

from tools import models_table
from tools.host_env.paths import CLONE

from ..support.architectures import ARCHITECTURES
from ..support.published_checkpoints import PUBLISHED


@pytest.mark.slow
def test_the_committed_table_is_not_stale(pack_module):
    made = models_table.document(
        ARCHITECTURES,
        {p.config for p in PUBLISHED.values()},
        pack_module("gsn_ops.host.architectures.family"),
    )
    kept = (CLONE / "docs" / "models.md").read_text(encoding="utf-8")
    assert kept.splitlines() == made.splitlines(), (
        "stale: run `python3 tools/dev.py models --write docs/models.md`"
    )


def test_every_family_says_who_chose_what_it_reads_and_when(pack_module):
    layouts = pack_module("gsn_ops.host.architectures.family")
    for family in layouts.FAMILIES.values():
        assert family.source.startswith(("published: ", "ours: ")) and family.moment.startswith(
            ("published: ", "ours: ")
        ), family.name
