"""Which model family a MODEL belongs to, or why it is not supported."""

from __future__ import annotations

from .architectures.family import FAMILIES, REFUSED, ModelFamily
from .extensions import collect


def _known(config) -> ModelFamily | str | None:
    """The family of a host configuration, or why it is refused, or None."""
    for cls in type(config).__mro__:
        if cls.__name__ in REFUSED or cls.__name__ in FAMILIES:
            return REFUSED.get(cls.__name__) or FAMILIES[cls.__name__]
    return None


def family_of(model) -> ModelFamily:
    """The family of a MODEL. Raises ValueError that says why, or what is supported, if there is none."""
    config = getattr(model.model, "model_config", None)
    known = _known(config)
    if known is None:  # another pack may know it, and no node of ours has asked since that one has loaded
        collect()
        known = _known(config)
    if isinstance(known, ModelFamily):
        return known
    if known is not None:
        raise ValueError(
            f"Semantic Nursing cannot work on this model ({type(config).__name__}): {known} "
            "Use the stock sampler for it, or bypass this node."
        )
    supported = ", ".join(sorted({f.name for f in FAMILIES.values()}))
    raise ValueError(
        f"This model ({type(config).__name__}) is not supported by Semantic Nursing yet. Supported text-to-image models: {supported}. "
        "Video, audio and 3D models have no text-to-image attention that this pack reads: use the stock sampler for them."
    )
