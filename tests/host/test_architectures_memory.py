"""What one pass keeps for its gradient grows with the number of image tokens, not with its square; low precision weights."""

from dataclasses import replace

import pytest
import torch

from .architectures import ARCHITECTURES
from .looking import weighted
from .test_architectures import loaded, one_pass

SIDES = (16, 32, 64)  # of the grid of tokens


class Saved:
    """Counts the bytes of every tensor that the graph keeps, each storage once, the model's own weights left out."""

    def __init__(self, model):
        self.weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        self.sizes: dict[int, int] = {}
        self.kept = []  # as long as they live, no address is used twice

    def __call__(self, t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.kept.append(t)
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return t


@pytest.mark.parametrize("name", ("Flux", "Qwen-Image", "ERNIE", "Cosmos-Predict2"))
def test_memory_of_a_pass_is_linear_in_the_image(tiny, name):
    arch = ARCHITECTURES[name]
    patch = -(-arch.plane[0] // arch.grid[0])
    made, totals, largest = loaded(arch, tiny), [], []
    for side in SIDES:
        made.arch = replace(arch, plane=(side * patch, side * patch), grid=(side, side))

        def look(probe, z, conds):
            saved = Saved(made.model.model)
            with torch.autograd.graph.saved_tensors_hooks(saved, lambda t: t):
                seen = probe.maps_of(z.requires_grad_(True))
                loss = weighted(seen.cross)
            assert seen.cross and loss.requires_grad
            return sum(saved.sizes.values()), max(saved.sizes.values())
        total, most = made.at_state(look)
        totals.append(total)
        largest.append(most)
    for small, big in zip(totals, totals[1:]):
        assert big < 4.2 * small  # four times the tokens
    assert largest[-1] < 4 * SIDES[-1] ** 4  # bytes of one matrix of all tokens by all tokens


@pytest.mark.parametrize("name", ("SDXL", "SD3", "Flux", "Qwen-Image", "Z-Image", "PixArt-sigma", "HiDream", "Cosmos-Predict2", "ERNIE"))
def test_half_precision_weights_give_float32_maps_and_gradients(tiny, name):
    arch = ARCHITECTURES[name]
    exact = loaded(arch, tiny).at_state(lambda probe, z, conds: one_pass(probe, z), {"heads": True, "self_rows": True})
    half = loaded(arch, tiny, torch.bfloat16).at_state(lambda probe, z, conds: one_pass(probe, z), {"heads": True, "self_rows": True})
    assert half.maps.dtype == half.gradient.dtype == torch.float32
    assert torch.cosine_similarity(half.gradient.flatten(), exact.gradient.flatten(), 0) > 0.99
