"""A pass whose attention cannot be read, or has no gradient."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

AUTOGRAD = Path(torch.__file__).parent / "autograd"
OWN_NETWORK = (
    "the network is {}, not ComfyUI's, and its attention cannot be read: load the model with ComfyUI's own "
    "loader"
)


class UnreadablePass(RuntimeError):
    """Something on the model is in the way: the run goes on without updates.

    The text says why, in half a sentence.
    """


def is_unreadable(error: BaseException) -> bool:
    """Is it such a pass, or an error that the backward pass itself raised, and not code that it calls?"""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    of_autograd = any(AUTOGRAD in Path(frame.filename).parents for frame in last)
    return isinstance(error, UnreadablePass) or (isinstance(error, RuntimeError) and of_autograd)


def sentence(error: BaseException, names: tuple[str, ...], engine: str = "") -> str:
    """Why a recipe did nothing, for the report: the reason, what is in the way, and the cure.

    names: of nodes and packs. engine: name of another pack's network in the place of ComfyUI's.
    """
    if engine:
        return OWN_NETWORK.format(engine)
    if not isinstance(error, UnreadablePass):
        error = unreadable(error)
    if not names:
        return str(error)
    cure = "bypass it" if len(names) == 1 else "bypass them one by one"
    return f"{error}; in the way is {' or '.join(names)}: {cure} to have updates"


def unreadable(error: BaseException) -> UnreadablePass:
    """Another error of a pass as one of this kind."""
    first = (str(error).strip().splitlines() or [""])[0]
    return UnreadablePass(
        f"the attention could not be read or has no gradient ({type(error).__name__}: {first})"
    )
