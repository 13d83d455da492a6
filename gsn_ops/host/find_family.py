"""Which model family a MODEL belongs to, or why it is not supported."""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher

from .architectures.family import FAMILIES, ModelFamily, registered
from .extensions import collect


def family_of(model: ModelPatcher) -> ModelFamily:
    """The family of a MODEL. Raises ValueError that says why, or what is supported, if there is none."""
    config = getattr(model.model, "model_config", None)
    known = registered(config)
    if known is None:  # another pack may know it, and may have been loaded after our nodes were last listed
        collect()
        known = registered(config)
    if isinstance(known, ModelFamily):
        return known
    if known is not None:
        raise ValueError(
            f"Semantic Nursing cannot work on this model ({type(config).__name__}): {known} "
            "Use the stock sampler for it, or bypass this node."
        )
    supported = ", ".join(sorted({family.name for family in FAMILIES.values()}))
    raise ValueError(
        f"This model ({type(config).__name__}) is not supported by Semantic Nursing yet. "
        f"Supported text-to-image models: {supported}. For models that make video, sound or 3D shapes use "
        "the stock sampler."
    )


def name_of(model: ModelPatcher, family: ModelFamily) -> str:
    """What a report calls a MODEL of this family: the family's name, or that of a demo model."""
    config = type(model.model.model_config)  # asked for what it has not, ComfyUI's object answers None
    return getattr(config, "demo_name", family.name)
