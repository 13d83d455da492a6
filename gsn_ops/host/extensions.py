"""Objectives, methods and architectures of other packs.

A pack whose `__init__.py` has a function `gsn_register(gsn)` is called once with the public module.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType

from . import public

log = logging.getLogger(__name__)
HOOK = "gsn_register"
_CALLED: set[str] = set()


def collect() -> None:
    """Call `gsn_register(public)` of every loaded module that has it and was not called before.

    Runs whenever ComfyUI asks our nodes for their choices, and when a model is unknown, so a pack that loads
    later than this one is found too. A failing hook is logged with its traceback and does not affect other
    packs.
    """
    for name, module in list(sys.modules.items()):
        hook = _hook_of(module)
        if hook is None or name in _CALLED:
            continue
        _CALLED.add(name)
        try:
            hook(public)
        except Exception:
            log.exception("The pack %s failed to register with Semantic Nursing.", name)


def _hook_of(module: object):
    """The module's hook, if it has one. Read from its dictionary: `getattr` would load lazy modules."""
    return vars(module).get(HOOK) if isinstance(module, ModuleType) else None
