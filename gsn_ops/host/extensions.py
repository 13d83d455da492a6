"""Other packs' objectives, methods and architectures: a pack whose `__init__.py` has `gsn_register(gsn)` is asked once."""
from __future__ import annotations

import logging
import sys
from types import ModuleType

log = logging.getLogger(__name__)
HOOK = "gsn_register"
_ASKED: set[str] = set()


def collect(gsn_ops: ModuleType) -> None:
    """Call `gsn_register(gsn_ops)` of every loaded module that has it and was not asked before.

    Called whenever the host asks our nodes for their choices, and when a model is not known, so a pack that loads later than
    this one is found too.
    A hook that fails is logged with its traceback and costs nobody else anything.
    """
    for name, module in list(sys.modules.items()):
        hook = vars(module).get(HOOK) if isinstance(module, ModuleType) else None  # vars: lazy modules must not wake up
        if hook is None or name in _ASKED:
            continue
        _ASKED.add(name)
        try:
            hook(gsn_ops)
        except Exception:
            log.exception("The pack %s failed to register with Semantic Nursing.", name)
