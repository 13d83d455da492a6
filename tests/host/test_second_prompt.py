"""Guiders with two positive prompts: subjects of the second are nursed where the first lacks them (F16)."""

import pytest
import torch

from ..support.demo_model import PROMPT

SECOND = "a yellow star"


@pytest.mark.parametrize("subjects", ("", "red circle", "yellow star", "yellow star, blue square"))
@pytest.mark.parametrize("style", ("regular", "nested"))
def test_f16_dual_guidance(tiny, subjects, style):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as custom

    typed = tiny.module("gsn_ops.subjects.syntax").parse_subjects(subjects)
    patched, book = tiny.attach(step=1, subjects=typed)

    @torch.inference_mode()
    def run(model):
        prompts = tiny.encode(PROMPT), tiny.encode(SECOND), tiny.encode("")
        guider = custom.DualCFGGuider.execute(model, *prompts, 5.0, 3.0, style)[0]
        out = custom.SamplerCustomAdvanced.execute(
            custom.Noise_RandomNoise(3),
            guider,
            comfy.samplers.sampler_object("euler"),
            tiny.sigmas(steps=4),
            {"samples": torch.zeros(1, 4, 16, 16)},
        )
        return out[0]["samples"]

    out = run(patched)
    recipe = book.find(out).recipes[0]
    assert recipe.updates == (2,) and not torch.equal(out, run(tiny.model))
    every = "red circle, blue square, green triangle, yellow star"
    assert sorted(recipe.subjects) == sorted((subjects or every).split(", "))


def test_f16_a_subject_in_neither_prompt_is_an_error(tiny):
    typed = tiny.module("gsn_ops.subjects.syntax").parse_subjects("zebra")
    with pytest.raises(ValueError, match="zebra"):
        tiny.sample(tiny.attach(step=1, subjects=typed)[0], steps=2)


def test_f16_what_a_merge_loses_is_said(tiny):
    """ComfyUI's merge takes the first model's nodes only: the report that stays empty says so."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    patched, book = tiny.attach(step=1)
    merged = ModelMergeSimple().merge(tiny.load()[0], patched, 0.5)[0]
    out = tiny.sample(merged, steps=2)
    run, remark = tiny.module("gsn_ops.report.views").find_run(book, out)
    assert run is None and "merged models only the first" in remark
    kept = ModelMergeSimple().merge(patched, tiny.load()[0], 0.5)[0]
    assert book.find(tiny.sample(kept, steps=3)).recipes[0].updates == (2,)
