"""Other packs' objectives, methods and architectures: a pack whose `__init__.py` has `gsn_register(gsn)` is called once."""

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

    Runs whenever ComfyUI asks our nodes for their choices, and when a model is unknown, so a pack that loads later than
    this one is found too. A failing hook is logged with its traceback and does not affect other packs.
    """
    for name, module in list(sys.modules.items()):
        hook = (
            vars(module).get(HOOK) if isinstance(module, ModuleType) else None
        )  # vars: lazy modules must not wake up
        if hook is None or name in _CALLED:
            continue
        _CALLED.add(name)
        try:
            hook(public)
        except Exception:
            log.exception("The pack %s failed to register with Semantic Nursing.", name)
