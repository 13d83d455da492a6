"""Maps and gradients are right: the same as a hand-run network with an explicit softmax, whatever ComfyUI
does to a pass.
"""

import pytest
import torch

from ..support.demo_model import PROMPT, empty
from ..support.extras import LORA_PLACE, noise, random_control_net, random_lora
from ..support.gligen import random_gligen
from ..support.probe_oracle import assert_same, look, slow_pass

SECOND = "a yellow star and a green heart"
BLOCK = ("input", 3)  # the first block with cross-attention: what is done to it changes all other maps


@pytest.fixture(scope="module")
def network(tiny):
    """The same weights as ordinary tensors: the oracle's own copy."""
    return fresh_network(tiny)


def fresh_network(tiny):
    return tiny.module("gsn_ops.host.demo.sd").load_demo_model()[0].model


@pytest.fixture(scope="module")
def read(tiny):
    """A function: what the network reads for a text [1, 77 n, 64]."""
    return lambda text: tiny.encode(text, plain=True)[0][0].clone()


@pytest.mark.parametrize("levels", ((2,), (4,), (2, 4)), ids=str)
def test_levels(tiny, network, read, levels):
    seen = look(tiny, levels=levels)
    assert set(seen.full.maps) == set(levels)
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))


@pytest.mark.parametrize(
    "blocks, within",
    (
        (
            "middle_up",
            ("middle_block", "output_blocks.0.", "output_blocks.1."),
        ),  # the first level of the way up that attends: 4
        ("2-3", ("middle_block", "output_blocks.0.")),
    ),
)  # layers of a pass from 0: input, input, middle, output, ...
def test_blocks(tiny, network, read, blocks, within):
    seen = look(tiny, levels=None, blocks=blocks)
    assert_same(seen, slow_pass(network, seen, read(PROMPT), within=within))


def test_a_level_that_the_model_has_not_is_named(tiny):
    with pytest.raises(ValueError, match="at level 8 of this model. .*'auto'"):
        look(tiny, levels=(8,))


@pytest.mark.parametrize("height, width", ((24, 40), (40, 24), (20, 28)))
def test_not_square(tiny, network, read, height, width):
    seen = look(tiny, levels=(2, 4), latent=empty(1, height, width))
    assert seen.full.maps[4].shape[1:3] == (height // 4, width // 4)
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))


def test_batch_of_2(tiny, network, read):
    seen = look(tiny, latent=empty(2))
    assert not torch.equal(seen.full.maps[2][0], seen.full.maps[2][1])
    assert_same(seen, slow_pass(network, seen, read(PROMPT).repeat(2, 1, 1)))


def test_two_chunks_of_text(tiny, network, read):
    text = PROMPT + " on a white ground" * 20
    seen = look(tiny, positive=tiny.encode(text))
    assert read(text).shape[1] == 154 and seen.columns[-1] > 77
    assert_same(seen, slow_pass(network, seen, read(text)))


def test_long_negative_prompt(tiny, network, read):
    """ComfyUI pads the shorter of two prompts when it runs them together; the probe runs the positive
    alone.
    """
    seen = look(tiny, negative=tiny.encode("a square " * 60))
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))


@pytest.mark.parametrize("dtype, cosine", ((torch.float16, 0.999), (torch.bfloat16, 0.99)), ids=str)
def test_low_precision_weights_give_float32_maps_and_gradients(tiny, network, read, dtype, cosine):
    model = tiny.load()[0]
    with torch.inference_mode():
        model.model.diffusion_model.to(dtype).dtype = dtype
    seen = look(tiny, model)
    slow = slow_pass(network, seen, read(PROMPT))
    for ours in (seen.full.maps[2], seen.full.loss, seen.full.gradient):
        assert ours.dtype == torch.float32
    assert torch.cosine_similarity(seen.full.gradient.flatten(), slow.gradient.flatten(), 0) > cosine


@pytest.mark.parametrize("name", ("heun", "uni_pc", "dpm_2", "dpmpp_2m_sde"))
def test_in_other_samplers(tiny, network, read, name):
    seen = look(tiny, sampler=name, step=2)
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))


def test_inpainting_mask(tiny, network, read):
    import comfy.sample

    mask, latent = torch.zeros(1, 1, 16, 16), 0.5 * noise(1, 4, 16, 16)
    mask[..., 3:12, 2:10] = 1
    seen = look(tiny, latent=latent, noise_mask=mask)
    background = latent + comfy.sample.prepare_noise(latent, 3) * float(seen.sigma[0])
    assert_same(
        seen, slow_pass(network, seen, read(PROMPT), part=lambda x: x * mask + background * (1 - mask))
    )
    assert seen.full.gradient[..., mask[0, 0] == 0].count_nonzero() == 0


def test_nine_channel_inpainting_model(tiny, read):
    """A UNet that reads the mask and the masked image beside the latent, through ComfyUI's own
    conditioning for it.
    """
    import comfy.sd
    import comfy.supported_models

    demo = tiny.module("gsn_ops.host.demo.sd")

    class NineChannels(demo.DemoSD):
        pass

    def load():
        weights = demo.read(demo.PATH)
        first = weights["model.diffusion_model.input_blocks.0.0.weight"]
        weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.cat(
            [first, 0.1 * noise(first.shape[0], 5, 3, 3).to(first)], 1
        )
        comfy.supported_models.models.append(NineChannels)
        try:
            return comfy.sd.load_state_dict_guess_config(
                weights, te_model_options={"clip_l_model_config": demo.TEXT_MODEL}, disable_dynamic=True
            )[0]
        finally:
            comfy.supported_models.models.remove(NineChannels)

    with torch.inference_mode():
        model = load()
    latent, mask = 0.5 * noise(1, 4, 16, 16, seed=1), torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    positive, negative = (
        [[c[0][0], {**c[0][1], "concat_latent_image": latent, "concat_mask": mask}]]
        for c in (tiny.encode(PROMPT), tiny.encode(""))
    )
    seen = look(tiny, model, positive=positive, negative=negative)
    assert_same(seen, slow_pass(load().model, seen, read(PROMPT), concat=torch.cat([mask, latent], 1)))


def test_area(tiny, network, read, host):
    """Conditioning for a part of the image: the network sees that part, and the rest has no gradient."""
    positive = host.ConditioningSetArea().append(tiny.encode(PROMPT), 64, 96, 32, 16, 1.0)[
        0
    ]  # pixels: 8x12 cells at (4, 2)
    seen = look(tiny, positive=positive)
    assert seen.full.maps[2].shape[1:3] == (6, 4)
    assert_same(seen, slow_pass(network, seen, read(PROMPT), part=lambda x: x[..., 2:14, 4:12]))


def test_conditioning_mask(tiny, network, read, host):
    """A mask acts on what the network gives, not on what it sees."""
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    seen = look(
        tiny, positive=host.ConditioningSetMask().append(tiny.encode(PROMPT), mask, "default", 1.0)[0]
    )
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))


@pytest.mark.parametrize("step, text", ((0, PROMPT), (3, SECOND)))
def test_timestep_ranges(tiny, network, read, host, step, text):
    """Of two prompts, the one that is in force at the step is the one that is read."""
    ranged = host.ConditioningSetTimestepRange()
    positive = (
        ranged.set_range(tiny.encode(PROMPT), 0.0, 0.4)[0]
        + ranged.set_range(tiny.encode(SECOND), 0.4, 1.0)[0]
    )
    seen = look(tiny, positive=positive, step=step)
    assert_same(seen, slow_pass(network, seen, read(text)))


@pytest.mark.parametrize("step", (0, 2))
@pytest.mark.parametrize("kind", ("net", "lora"))
def test_control_net(tiny, network, read, host, kind, step):
    image = noise(1, 128, 128, 3, seed=5).sigmoid()
    with torch.inference_mode():
        positive, negative = host.ControlNetApplyAdvanced().apply_controlnet(
            tiny.encode(PROMPT), tiny.encode(""), random_control_net(tiny.model, kind), image, 1.0, 0.0, 1.0
        )
    seen = look(tiny, positive=positive, negative=negative, step=step, levels=(2, 4))
    theirs = random_control_net(tiny.model, kind).set_cond_hint(image.movedim(-1, 1).clone())
    theirs.pre_run(network, lambda percent: 999999.9 if percent == 0 else 0.0)
    theirs.model_sampling_current = network.model_sampling
    with torch.enable_grad():
        slow = slow_pass(
            network,
            seen,
            read(PROMPT),
            control=lambda x: theirs.get_control(x, seen.sigma, {"c_crossattn": read(PROMPT)}, 1, {}),
        )
    assert_same(seen, slow)
    without = slow_pass(network, seen, read(PROMPT))
    assert (without.maps[2] - slow.maps[2]).abs().max() > 1e-3  # it has a say in the decoder's maps


def test_gligen(tiny, network, read, host):
    with torch.inference_mode():
        positive = host.GLIGENTextBoxApply().append(
            tiny.encode(PROMPT), tiny.plain_clip, random_gligen(tiny.model), "square", 64, 64, 32, 16
        )[0]
    seen = look(tiny, positive=positive)
    box = [(positive[0][1]["gligen"][2][0][0].clone(), 8, 8, 2, 4)]
    patch = random_gligen(tiny.model).model.set_position((1, 4, 16, 16), box, torch.device("cpu"))
    slow = slow_pass(network, seen, read(PROMPT), options={"patches": {"middle_patch": [patch]}})
    assert_same(seen, slow)
    assert (slow_pass(network, seen, read(PROMPT)).maps[2] - slow.maps[2]).abs().max() > 1e-3


@pytest.mark.parametrize("way", ("patch", "hook"))
def test_lora(tiny, read, way):
    import comfy.hooks
    import comfy.sd
    import node_helpers

    weights, change = random_lora()
    changed = fresh_network(tiny)
    changed.diffusion_model.get_submodule(LORA_PLACE).to_k.weight.data += change
    if way == "patch":
        model, positive = (
            comfy.sd.load_lora_for_models(tiny.model, None, weights, 1.0, 0.0)[0],
            tiny.encode(PROMPT),
        )
    else:
        model, hooks = (
            tiny.model.clone(),
            comfy.hooks.create_hook_lora(lora=weights, strength_model=1.0, strength_clip=0.0),
        )
        positive = node_helpers.conditioning_set_values(tiny.encode(PROMPT), {"hooks": hooks})
    seen = look(tiny, model, positive=positive)
    assert_same(seen, slow_pass(changed, seen, read(PROMPT)))


@pytest.mark.parametrize("options", (True, False), ids=("with options", "without options"))
def test_another_packs_replacement_of_cross_attention_stays_in_force(tiny, network, read, options):
    from comfy.ldm.modules.attention import optimized_attention

    calls = []

    def half(q, k, v, extra):
        calls.append(extra["block"])
        more = {"transformer_options": extra} if options else {}
        return 0.5 * optimized_attention(q, k, v, extra["n_heads"], **more)

    model = tiny.model.clone()
    model.set_model_attn2_replace(half, *BLOCK)
    seen = look(tiny, model, levels=(2, 4))
    assert set(calls) == {BLOCK}
    slow = slow_pass(network, seen, read(PROMPT), options={"patches_replace": {"attn2": {BLOCK: half}}})
    assert_same(seen, slow)
    assert (slow_pass(network, seen, read(PROMPT)).maps[4] - slow.maps[4]).abs().max() > 1e-4


def test_another_packs_replacement_of_self_attention_stays_in_force(tiny, network, read):
    """Perturbed attention and its kind: the block then makes one call less, and its cross-attention is still
    recognised.
    """

    def identity(q, k, v, extra):
        return v

    model = tiny.model.clone()
    model.set_model_attn1_replace(identity, *BLOCK)
    seen = look(tiny, model, levels=(2, 4))
    assert_same(
        seen,
        slow_pass(network, seen, read(PROMPT), options={"patches_replace": {"attn1": {BLOCK: identity}}}),
    )


@pytest.mark.parametrize("longer", (False, True), ids=("same length", "longer"))
def test_another_packs_patch_of_the_text_stays_in_force(tiny, network, read, longer):
    def patch(n, context, value, extra):
        context = torch.cat([context, 0.5 * context[:, :4]], 1) if longer else 0.8 * context
        return n, context, context

    model = tiny.model.clone()
    model.set_model_attn2_patch(patch)
    seen = look(tiny, model)
    assert_same(seen, slow_pass(network, seen, read(PROMPT), options={"patches": {"attn2_patch": [patch]}}))


def with_override(model, override):
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    return model


def test_another_packs_attention_override_is_chained(tiny, network, read):
    def louder(func, *args, **kwargs):
        return 1.5 * func(*args, **kwargs)

    seen = look(tiny, with_override(tiny.model, louder), levels=(2, 4))
    assert_same(
        seen, slow_pass(network, seen, read(PROMPT), options={"optimized_attention_override": louder})
    )


def test_an_attention_kernel_without_gradient_is_replaced_and_named(tiny, network, read):
    def inference_only(func, *args, **kwargs):
        return func(*args, **kwargs).detach()

    model = with_override(tiny.model, inference_only)
    seen = look(tiny, model, levels=(2, 4))
    assert_same(seen, slow_pass(network, seen, read(PROMPT)))
    said = []
    tiny.sample(tiny.attach(model, said.append, step=1)[0], steps=3)
    assert "another pack's attention kernel has no gradient" in said[-1]
