"""Every text-to-image architecture of ComfyUI: maps and gradients of the probe in a real run are those of an
explicit softmax.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ..support.architectures import ARCHITECTURES, Architecture, random
from ..support.demo_model import NEVER
from ..support.networks import CELLS, Made, Pass, contents, graphs_in, make, one_pass
from ..support.probe_oracle import weighted
from ..support.softmax_oracle import written_out

CAT, DOG = 3, 7


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request, tiny) -> Made:
    return make(request.param, tiny)


@pytest.fixture(scope="module")
def flux(tiny) -> Made:
    return make("Flux", tiny)


def slow_pass(arch: Architecture, z: Tensor, conds: dict, columns: slice, control=lambda x: None) -> Pass:
    """The same by the oracle, on ordinary weights. Rows of the image's attention to itself: in joint
    attention only.
    """
    model, (h, w) = arch.build(), arch.grid
    leaf = z.clone().requires_grad_(True)
    with written_out(model.diffusion_model, arch.attends) as seen:
        x = leaf * arch.scale(arch.sigma)
        model.apply_model(
            x, torch.full((len(z),), arch.sigma), transformer_options={}, control=control(x), **conds
        )
        text, image = (
            slice(arch.text + columns.start, arch.text + columns.stop),
            slice(arch.image, arch.image + h * w),
        )
        found = [p for p in seen.found if p.shape[-1] == arch.keys and p.shape[-2] in (h * w, arch.queries)]
        heads = [p[:, :, image, text].unflatten(2, (h, w)) for p in found]
        maps = torch.stack([p.mean(1) for p in heads]).mean(0)
        (gradient,) = torch.autograd.grad(weighted({1: maps}).sum(), leaf)
    rows = None
    if found[0].shape[-2] == arch.queries:
        itself = slice(image.start + arch.keys - arch.queries, image.stop + arch.keys - arch.queries)
        rows = (
            torch.stack([p[:, :, image, itself][:, :, CELLS].mean(1) for p in found])
            .mean(0)
            .unflatten(-1, (h, w))
            .detach()
        )
    return Pass(maps.detach(), gradient, [p.detach() for p in heads], rows)


def two_passes(probe, z, conds):
    return one_pass(probe, z), one_pass(probe, z), z, conds, probe.columns


def assert_same(full: Pass, cut: Pass, slow: Pass) -> None:
    """Full and cut pass are the same bits; maps within 1e-5 of the oracle's, gradients with a cosine above
    .9999.
    """
    assert torch.equal(full.maps, cut.maps) and torch.equal(full.gradient, cut.gradient)
    assert full.maps.shape == slow.maps.shape and (full.maps - slow.maps).abs().max() < 1e-5
    for ours, theirs in zip(full.heads, slow.heads, strict=True):
        assert (ours - theirs).abs().max() < 1e-5
    if slow.rows is not None:
        assert (full.rows - slow.rows).abs().max() < 1e-5
    for ours, theirs in zip(full.gradient, slow.gradient, strict=True):
        assert theirs.norm() > 0
        assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.9999
        assert abs(ours.norm() / theirs.norm() - 1) < 1e-3


def test_maps_and_gradients_are_those_of_an_explicit_softmax(made):
    before = contents(made.model)
    full, cut, z, conds, columns = made.at_state(two_passes, {"heads": True, "self_rows": True}, batch=2)
    assert contents(made.model) == before and not graphs_in(made.model)
    assert full.maps.shape == (2, *made.arch.grid, columns.stop - columns.start) and not torch.equal(
        full.maps[0], full.maps[1]
    )
    assert_same(full, cut, slow_pass(made.arch, z, conds, columns))


@pytest.mark.parametrize(
    "name, key, width",
    (
        ("SD3", "output", 128),
        ("Flux", "input", 32),
        ("Chroma", "input", 32),
        ("Qwen-Image", "input", 32),
        ("HunyuanImage", "input", 32),
        ("HunyuanDiT", "output", 32),
    ),
)
def test_a_control_net_stays_in_force(tiny, name, key, width):
    """Its residuals, which depend on the latent, are added to the image's tokens after a block, by some
    networks in place.
    """
    import comfy.controlnet

    made = make(name, tiny)
    residual = 0.3 * random(1, made.arch.grid[0] * made.arch.grid[1], width, seed=8)

    def residuals(x: Tensor) -> dict:
        mean = x.square().flatten(1).mean(1)[:, None, None]
        return {"input": [], "output": [], key: [residual * mean] * (1 if name == "HunyuanDiT" else 2)}

    class Control(comfy.controlnet.ControlBase):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            return residuals(x_noisy)

    full, cut, z, conds, columns = made.at_state(
        two_passes, {"heads": True, "self_rows": True}, control=Control()
    )
    slow = slow_pass(made.arch, z, conds, columns, residuals)
    assert_same(full, cut, slow)
    assert (slow.maps - slow_pass(made.arch, z, conds, columns).maps).abs().max() > 1e-5  # it has a say


def first_layer(made, *, nudged: tuple[int, int], louder: int | None = None) -> list[Tensor]:
    """Maps of the first wanted layer [h, w, n] as the run has it, and with another latent behind one image
    token.
    """

    def look(probe, z, conds):
        probe.layers = 1
        (h, w), (y, x) = made.arch.grid, nudged
        high, wide = -(-z.shape[-2] // h), -(-z.shape[-1] // w)
        other = z.clone()
        other[..., y * high : (y + 1) * high, x * wide : (x + 1) * wide] *= -2
        with torch.no_grad():
            return [next(iter(probe.maps_of(state).cross.values()))[0] for state in (z, other)]

    return made.at_state(look, louder=louder)


def test_a_changed_word_changes_its_own_column_and_a_changed_place_its_own_cell(made):
    nudged = (1, 4)
    plain, elsewhere = first_layer(made, nudged=nudged)
    for row in (CAT, DOG):
        change = first_layer(made, louder=row, nudged=nudged)[0].log() - plain.log()
        change = (
            change - change.median(-1, keepdim=True).values
        )  # what the softmax takes from all columns alike
        assert change.abs().mean((0, 1)).argmax() == row - 1
    most = int((elsewhere.log() - plain.log()).abs().mean(-1).argmax())
    off = max(abs(a - b) for a, b in zip(divmod(most, made.arch.grid[1]), nudged))
    assert off <= (1 if made.arch.convolves else 0)


def test_a_run_is_refined_and_the_next_one_is_plain(made):
    """A batch of two; with its step outside the run, the bits are those of a run without us."""
    said, before, plain = [], contents(made.model), made.sample(batch=2)
    patched, book = made.tiny.attach(made.model, said.append, step=0)
    refined = made.sample(patched, batch=2)
    (action,) = book.last().recipes
    assert refined.shape == plain.shape and torch.isfinite(refined).all()
    assert all(not torch.equal(ours, stock) for ours, stock in zip(refined, plain, strict=True))
    assert action.updates == (2, 2) and "2 update steps" in action.status
    assert said[0].startswith("red cat, blue dog; at step 0 of 1; ") and action.subjects == (
        "red cat",
        "blue dog",
    )
    for off in (made.tiny.attach(made.model, step=NEVER)[0], made.model):
        assert torch.equal(made.sample(off, batch=2), plain)
    assert contents(made.model) == before and not graphs_in(made.model)


def test_a_level_that_a_transformer_has_not_is_named(flux):
    with pytest.raises(ValueError, match="at level 4 of this model. .*'auto'.*level 2, blocks 0 to 3"):
        flux.at_state(lambda probe, z, conds: probe.maps_of(z), {"levels": (4,)})


def test_words_that_the_attention_does_not_see_are_refused(tiny):
    """Anima's attention sees what its adapter makes for T5's tokens, not the rows of Qwen that its text node
    hands on.
    """
    made = make("Anima", tiny)
    anima = replace(made, arch=replace(made.arch, tensor=""))
    model, _ = tiny.attach(
        anima.model, step=0, subjects=tiny.module("gsn_ops.subjects.syntax").parse_subjects("red cat")
    )
    with pytest.raises(
        ValueError,
        match="'red cat' is in the prompt, but its tokens are not passed to the model: Anima does not",
    ):
        anima.sample(model)


def test_encoders_with_the_same_rows_count_once(tiny):
    """Stable Diffusion 3: CLIP-L and CLIP-G side by side in the same rows, then T5: two views, not three."""
    prompt, entries = (tiny.module(f"gsn_ops.{name}") for name in ("prompt", "host.attention.entry"))

    def tokens(**texts):
        rows = {"l": 0, "g": 0, "t5xxl": 77}
        return prompt.PromptTokens(
            tuple(
                prompt.EncoderTokens(
                    name,
                    text,
                    (prompt.Piece("cat", 0, 3, rows[name] + 1),),
                    ((rows[name] + 1, rows[name] + 2, rows[name] + 77),),
                )
                for name, text in texts.items()
            ),
            154,
        )

    same = entries.distinct_spans(tokens(g="cat", l="cat", t5xxl="cat"), "prompt_only")
    assert same == (prompt.Span("g", 1, 2), prompt.Span("t5xxl", 78, 79))
    different = entries.distinct_spans(tokens(g="cat", l="dog", t5xxl="cat"), "prompt_only")
    assert [span.encoder for span in different] == ["g", "l", "t5xxl"]
