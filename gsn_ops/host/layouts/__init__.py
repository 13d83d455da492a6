"""Facts about architectures, one small file per family. The mechanism (capture.py) is the same for all."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..capture import Layout


@dataclass(frozen=True)
class Family:
    """What differs between architectures.

    name: shown to people. levels: default levels (latent height / map height). span: rule of the second softmax.
    layout(latent_shape, model_conds) -> Layout: computed before the forward from what enters the model.
    """

    name: str
    levels: tuple[int, ...]
    span: str
    layout: Callable[[tuple[int, ...], dict], Layout]


FAMILIES: dict[str, Family] = {}
"""Class name in the host's supported_models -> its family; subclasses inherit it."""


def register_family(family: Family, *config_names: str) -> None:
    """Make the architectures with these host configuration classes known. Called once by each family's file."""
    FAMILIES.update(dict.fromkeys(config_names, family))


def family_of(model) -> Family:
    """The family of a MODEL. Raises ValueError that names what is supported if there is none."""
    config = getattr(model.model, "model_config", None)
    for cls in type(config).__mro__:
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    supported = ", ".join(sorted({f.name for f in FAMILIES.values()}))
    raise ValueError(
        f"This model ({type(config).__name__}) is not supported by Semantic Nursing yet. Supported text-to-image models: {supported}. "
        "Video, audio and 3D models have no text-to-image attention that this pack reads: use the stock sampler for them."
    )


from . import unet  # noqa: E402, F401  registers its families
