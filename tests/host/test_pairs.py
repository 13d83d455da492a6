"""Prompt-to-Prompt on every text-to-image architecture of ComfyUI: the target's attention is the source's, by
runs in which that is written out; the source image keeps its bits.
"""

import pytest
import torch
from torch import Tensor

from ..support.architectures import ARCHITECTURES
from ..support.networks import Made, contents, make
from ..support.softmax_oracle import written_out

ONE_AT_A_TIME = ("Anima",)  # token ids that ComfyUI takes without a batch


@pytest.fixture(scope="module", params=[name for name in ARCHITECTURES if name not in ONE_AT_A_TIME])
def made(request, tiny) -> Made:
    return make(request.param, tiny)


@pytest.fixture(scope="module")
def pairs(pack_module):
    """The pack's modules."""
    names = ("modulate.pair_edit", "host.sampling.modulation", "host.prompts.prompt_pair", "host.find_family")
    return [pack_module(f"gsn_ops.{name}") for name in names]


def paired(made: Made, pairs) -> tuple[list, list]:
    """The pair of two prompts, of which one row differs, and the negative prompt."""
    _, _, prompt_pair, find_family = pairs
    source, negative = made.prompts(None, {})
    target, _ = made.prompts(3, {})
    return prompt_pair.paired_conditioning(find_family.family_of(made.model), source, target), negative


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_a_model_that_takes_one_prompt_at_a_time_is_refused(tiny, pairs, name):
    with pytest.raises(ValueError, match="takes the tokens of one prompt at a time .'t5xxl_ids'."):
        paired(make(name, tiny), pairs)


def run(made: Made, pairs, model=None) -> Tensor:
    import comfy.sample
    import comfy.samplers

    positive, negative = paired(made, pairs)
    with torch.inference_mode():
        latent = made.arch.latent(2)
        noise = torch.randn(latent[:1].shape, generator=torch.Generator().manual_seed(5)).repeat_interleave(
            2, 0
        )
        return comfy.sample.sample_custom(
            model or made.model,
            noise,
            1.0,
            comfy.samplers.sampler_object("euler"),
            torch.linspace(made.arch.sigma, 0, 2),
            positive,
            negative,
            latent,
            disable_pbar=True,
            seed=3,
        )


def edited(made: Made, pairs, **settings):
    edit, modulation, _, _ = pairs
    return modulation.attach_edits(made.model, edit.PromptToPrompt(**settings))


def is_cross(made: Made, pairs) -> bool:
    return pairs[3].family_of(made.model).cross and made.arch.config != "Stable_Cascade_C"


def test_maps_of_the_text_are_the_sources_and_the_source_keeps_its_bits(made, pairs):
    before, plain = contents(made.model), run(made, pairs)
    model, book = edited(made, pairs, cross_share=1.0, self_share=0.0)
    ours = run(made, pairs, model)
    assert torch.equal(ours[0], plain[0])
    if not is_cross(made, pairs):  # no maps are edited where image and text attend together
        assert torch.equal(ours, plain) and "did not act" in book.last().recipes[0].status
        return
    arch, (h, w) = made.arch, made.arch.grid

    def from_source(p: Tensor) -> Tensor:
        if p.shape[-1] != arch.keys or not (arch.convolves or p.shape[-2] in (h * w, arch.queries)):
            return p
        n = arch.rows  # HunyuanDiT has further rows, of which this test gives no tokens: they are left alone
        return torch.cat((p[:1], torch.cat((p[:1, ..., :n], p[1:, ..., n:]), -1)))

    with written_out(made.model.model.diffusion_model, arch.attends, from_source):
        theirs = run(made, pairs)
    error, effect = (ours - theirs).abs().max(), (theirs - plain).abs().max()
    assert error <= 2e-5 * theirs.abs().max() and error < 0.05 * effect
    assert contents(made.model) == before


def test_the_image_attends_to_itself_as_in_the_source(made, pairs, pack_module):
    """By a plain override that copies queries and keys, with places in the sequence written down here."""
    plain, cross = run(made, pairs), is_cross(made, pairs)
    model, book = edited(made, pairs, cross_share=0.0, self_share=1.0)
    ours = run(made, pairs, model)
    assert torch.equal(ours[0], plain[0]) and "did not act" not in book.last().recipes[0].status
    if pairs[3].family_of(made.model).drops_options:  # an override of another pack does not reach these
        assert not torch.equal(ours[1], plain[1])
        return
    arch, (h, w) = made.arch, made.arch.grid

    def follow(func, q, k, v, heads, mask=None, *args, **kwargs):
        dim = 2 if kwargs.get("skip_reshape") else 1
        n_q, n_k = q.shape[dim], k.shape[dim]
        rows = wanted(n_q, n_k)
        if rows is not None:
            q, k = q.clone(), k.clone()
            for t, (start, stop) in zip((q, k), rows):
                t[1:].narrow(dim, start, stop - start).copy_(t[:1].narrow(dim, start, stop - start))
        return func(q, k, v, heads, mask, *args, **kwargs)

    def wanted(n_q: int, n_k: int):
        """Rows of the image among queries and keys of a call that follows."""
        if arch.convolves:
            deep = -(-arch.plane[0] // 4) * -(-arch.plane[1] // 4)
            return ((0, n_q), (0, n_k)) if n_q == n_k <= deep else None
        if arch.config == "Stable_Cascade_C":
            return ((0, n_q), (0, n_q)) if n_k == n_q + arch.keys - arch.text else None
        if cross:
            return ((0, n_q), (0, n_k)) if n_q == n_k == h * w else None
        if n_k != arch.keys or n_q < arch.image + h * w:
            return None
        at = arch.image + n_k - n_q
        return (arch.image, arch.image + h * w), (at, at + h * w)

    other = made.model.clone()
    other.model_options["transformer_options"]["optimized_attention_override"] = follow
    theirs = run(made, pairs, other)
    assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()
    assert (theirs[1] - plain[1]).abs().max() > 0


def test_weights_of_the_target_leave_the_source(made, pairs, pack_module):
    weights = pack_module("gsn_ops.subjects.weights").parse_weights("red cat: 3, dog: 0.4")
    plain = run(made, pairs)
    model, _ = edited(made, pairs, cross_share=1.0, self_share=0.0, weights=weights)
    ours = run(made, pairs, model)
    assert torch.equal(ours[0], plain[0]) and not torch.equal(ours[1], plain[1])


def test_local_blend_keeps_cells_outside_its_mask(made, pairs, pack_module):
    words = pack_module("gsn_ops.subjects.syntax").parse_subjects("cat")
    model, book = edited(made, pairs, self_share=0.0, blend=words, blend_start=0.0, threshold=0.9)
    ours = run(made, pairs, model)
    (recipe,) = book.last().recipes
    mask = recipe.maps_after[1, 0].bool()
    outside = (ours[1] - ours[0]).abs().amax(0).reshape(-1, *mask.shape).amax(0)[~mask]
    assert mask.any() and not outside.any()
