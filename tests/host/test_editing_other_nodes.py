"""Editing nodes behind other nodes: caches of passes do not act, and what blocks gradients is named."""

import pytest
import torch

from ..support.foreign_patches import freeu_v2_out_of_place
from .test_foreign_patches import freeu
from .test_formats_and_accelerators import core_cache
from .test_inversion import SOURCE, back, image
from .test_inversion import invert as invert
from .test_inversion import models as models
from .test_inversion import nodes as nodes
from .test_inversion import sampler as sampler
from .test_picture_guidance import patch as patch
from .test_picture_guidance import sample
from .test_two_prompt_edits import flow_edit as flow_edit
from .test_two_prompt_edits import rf_inversion as rf_inversion

CACHES = pytest.mark.parametrize("cache", ("EasyCacheNode", "LazyCacheNode"))


@CACHES
def test_a_cache_does_not_act_in_inversion(models, invert, sampler, cache):
    demo = models["eps"]
    cached = core_cache(cache)(demo.model)
    on_model = {kind: list(table) for kind, table in cached.wrappers.items()}
    plain, found = (invert(demo, image(), model=model) for model in (demo.model, cached))
    assert torch.equal(plain[3].states, found[3].states) and plain[4] == found[4]
    rising = demo.sigmas(steps=6).flip(0)
    runs = [back(demo, None, image(), sampler(), rising, model=model) for model in (demo.model, cached)]
    assert torch.equal(*runs)
    assert on_model == {kind: list(table) for kind, table in cached.wrappers.items()}


@CACHES
def test_a_cache_does_not_act_where_two_prompts_alternate(models, flow_edit, rf_inversion, cache):
    demo = models["flow"]
    for run in (flow_edit, rf_inversion):
        outs = [run(demo, image(), model=model) for model in (demo.model, core_cache(cache)(demo.model))]
        assert torch.equal(*outs)


def test_a_patch_that_writes_into_its_tensors_is_as_one_that_does_not(tiny, nodes, invert, patch):
    """FreeU, in the passes with a gradient of Guidance by a Judge and of Null-Text Inversion."""
    fresh = tiny.model.clone()
    fresh.set_model_output_block_patch(freeu_v2_out_of_place(32))
    pair = freeu(tiny.model), fresh
    assert torch.equal(*(sample(tiny, patch(model), steps=2) for model in pair))
    way = invert(tiny, image(1, 32, 32), steps=1, check=False, model=fresh)[3]
    with torch.inference_mode():
        given = tiny.encode(SOURCE), tiny.encode(""), way, 5.0, 2
        negatives = [nodes["GSNNullText"].EXECUTE_NORMALIZED(model, *given).args[0] for model in pair]
    assert torch.equal(*(negative[0][0] for negative in negatives))


def test_what_blocks_the_gradient_is_named(tiny, patch, pack_module, monkeypatch):
    def blocked(*args):
        raise pack_module("gsn_ops.torch_ops.unreadable").UnreadablePass("the pass has no gradient")

    monkeypatch.setattr(pack_module("gsn_ops.host.attention.plain_pass").PlainPasses, "predict", blocked)
    with pytest.raises(ValueError, match="the pass has no gradient; in the way is FreeU_V2.*: bypass it"):
        sample(tiny, patch(freeu(tiny.model)), steps=1)
