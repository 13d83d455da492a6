"""What one shift allocates grows with the number of image tokens, not with its square; low precision
weights.
"""

from dataclasses import replace
from itertools import accumulate

import pytest
import torch

from ..support.allocation_meter import allocations
from ..support.architectures import ARCHITECTURES, Architecture
from ..support.networks import loaded, one_pass
from ..support.probe_oracle import weighted

SAME = (
    "KOALA",
    "SSD-1B",
    "Segmind",
    "PixArt-alpha",
    "HunyuanDiT 1.0",
    "Flux schnell",
    "Ovis",
    "NewBie",
    "Z-Image pixel",
)  # networks of others
NETWORKS = [name for name in ARCHITECTURES if name not in SAME and " with " not in name]
SIDES = (15, 33)  # of the grid of tokens: the last is beyond 32x32
OTHER_SIDES = {
    "SD1": (6, 13),
    "SD2": (6, 13),
    "SDXL": (9, 19),  # of level 4: they attend at level 1 or 2 as well
    "PixArt-sigma": (18, 33),
}  # its positions want no less
BLOCK = 2**20  # bytes that a fused kernel works in, whatever the size


def sized(arch: Architecture, side: int) -> Architecture:
    """The same with a square grid."""
    cells = [-(-latent // tokens) for latent, tokens in zip(arch.plane, arch.grid)]
    return replace(arch, plane=(side * cells[0], side * cells[1]), grid=(side, side))


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_of_a_shift_is_linear_in_the_image(tiny, name):
    """Forward and backward with everything kept (level 0), at two sizes: peak, and the largest single
    tensor of anyone.
    """
    arch, policy = ARCHITECTURES[name], tiny.module("gsn_ops.host.attention.memory_policy").CheckpointPolicy
    if arch.config == "SD3":  # as large a table of positions as the largest size wants
        arch = replace(
            arch, unet={**arch.unet, "num_patches": SIDES[-1] ** 2, "pos_embed_max_size": SIDES[-1]}
        )
    made, peaks, largest = loaded(arch, tiny), [], []
    sides = OTHER_SIDES.get(name, SIDES)
    for side in sides:
        made.arch = sized(arch, side)

        def shift(probe, z, conds):
            probe.checkpoint_policy = policy(0)

            def act():
                torch.autograd.grad(weighted(probe.maps_of(z.requires_grad_(True)).cross).sum(), z)

            found = allocations(act)
            return max(accumulate(found)), max(found)

        peak, most = made.at_state(shift)
        peaks.append(peak)
        largest.append(most)
    for n in range(len(sides) - 1):
        more = 1.2 * (sides[n + 1] / sides[n]) ** 2
        assert peaks[n + 1] < more * peaks[n], peaks
        assert largest[n + 1] < more * max(largest[n], BLOCK), largest


@pytest.mark.parametrize(
    "name",
    ("SDXL", "SD3", "Flux", "Qwen-Image", "Z-Image", "PixArt-sigma", "HiDream", "Cosmos-Predict2", "ERNIE"),
)
def test_half_precision_weights_give_float32_maps_and_gradients(tiny, name):
    arch = ARCHITECTURES[name]
    exact = loaded(arch, tiny).at_state(
        lambda probe, z, conds: one_pass(probe, z), {"heads": True, "self_rows": True}
    )
    half = loaded(arch, tiny, torch.bfloat16).at_state(
        lambda probe, z, conds: one_pass(probe, z), {"heads": True, "self_rows": True}
    )
    assert half.maps.dtype == half.gradient.dtype == torch.float32
    assert torch.cosine_similarity(half.gradient.flatten(), exact.gradient.flatten(), 0) > 0.99
