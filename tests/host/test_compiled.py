"""Methods without gradients on networks that are compiled whole.

In one file, since the first network that is compiled in a process takes a quarter of a minute.
"""

from dataclasses import replace

import pytest
import torch

from ..support.architectures import ARCHITECTURES
from ..support.networks import Made, loaded, make

REINJECTION = "Prompt Reinjection (2026)"
WEIGHTS = "red cat: 3, dog: 0.4"
FEW_BLOCKS = {
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
}


@pytest.fixture(scope="module")
def nodes(pack):
    """A function: what a node of the pack makes of a MODEL, and its book."""
    known = {node.GET_SCHEMA().node_id: node for node in pack.NODES}

    def run(name: str, model, **settings):
        with torch.inference_mode():
            model, *_, book = known[name].EXECUTE_NORMALIZED(model, **settings).args
        return model, book

    return run


def compiled(model):
    from comfy_api.torch_helpers.torch_compile import set_torch_compile_wrapper

    model = model.clone()
    set_torch_compile_wrapper(model, backend="eager")
    return model


def unet(tiny) -> Made:
    arch = ARCHITECTURES["SD1"]
    return loaded(replace(arch, unet={**arch.unet, **FEW_BLOCKS}), tiny)


@pytest.mark.slow
@pytest.mark.parametrize("made", (unet, lambda tiny: make("Flux", tiny)), ids=("cross", "joint"))
def test_word_weight_acts_and_says_so(tiny, nodes, made):
    made = made(tiny)
    eager = made.sample(nodes("GSNWordWeight", made.model, weights=WEIGHTS)[0])
    model, book = nodes("GSNWordWeight", compiled(made.model), weights=WEIGHTS)
    found, plain = made.sample(model), made.sample()
    assert (found - eager).abs().max() <= 0.01 * (eager - plain).abs().max() + 1e-6
    assert (eager - plain).abs().max() > 1e-3
    assert "did not act" not in book.find(found).recipes[0].status


def test_reinjection_leaves_the_network_as_it_is_and_says_so(tiny, nodes):
    made = make("Flux", tiny)
    model = compiled(made.model)
    changed, book = nodes("GSNNursing", model, method=REINJECTION)
    with torch.compiler.set_stance("force_eager"):  # what it does there is nothing: nobody has to compile
        found = made.sample(changed)
        assert torch.equal(found, made.sample(model))
        updated, report = tiny.attach(model, step=0, report="curve")  # update steps run the network itself
        assert not torch.equal(made.sample(updated), found) and report.last().recipes[0].updates == (2,)
    assert "did not act, the whole network is compiled" in book.find(found).recipes[0].status
