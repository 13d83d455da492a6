"""Where text and image are in the attention of a network, or that the network is another pack's."""

from __future__ import annotations

from ...attention_layout import AttentionLayout
from ...torch_ops.unreadable import OWN_NETWORK
from ..architectures.family import Inputs, ModelFamily
from .other_packs import own_network


def layout_in(family: ModelFamily, inputs: Inputs) -> AttentionLayout:
    """The family's layout of one pass.

    Raises ValueError, with the cure, for another pack's network that lacks what the family's have.
    """
    try:
        return family.layout(inputs)
    except (AttributeError, TypeError) as error:
        engine = own_network(inputs.network)
        if not engine:
            raise
        raise ValueError(OWN_NETWORK.format(engine)) from error
