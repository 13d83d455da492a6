"""Word weights on every architecture beside what else a run has: weight 1, prompts of other lengths, other
packs' kernels, ComfyUI's normalized attention guidance.
"""

import pytest
import torch

from ..support.architectures import ARCHITECTURES
from ..support.networks import Made, make

WORDS = "red cat: 3, dog: 0.4"
SAMPLERS = ("euler", "dpmpp_2m", "uni_pc")
OF_ONE_LENGTH = ("Qwen-Image", "OmniGen 2", "Boogu", "Ideogram 4 with padding", "Lens with padding")
"""Beginnings of names: their conditioning has masks or counts that fit its own rows only."""
REPEATS_COUNT = ("Cascade", "HiDream O1", "PixelDiT")
"""ComfyUI repeats their text beside other keys, which alone changes the stock run."""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request, tiny) -> Made:
    return make(request.param, tiny)


@pytest.fixture(scope="module")
def weigh(pack):
    """A function: MODEL with these weights, and the book, as the node makes them."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")

    def attach(model, weights: str, **settings):
        with torch.inference_mode():
            return node.EXECUTE_NORMALIZED(model, weights, **settings).args

    return attach


def name_of(made: Made) -> str:
    return next(name for name, arch in ARCHITECTURES.items() if arch is made.arch)


def told(book) -> str:
    return book.last().recipes[0].status


def close(a, b, plain) -> bool:
    """Whether two runs differ by a small part of the effect."""
    return bool((a - b).abs().max() <= 0.01 * (b - plain).abs().max() + 1e-6)


def test_weight_one_is_the_stock_run(made, weigh):
    """With one of three samplers: the architectures take turns."""
    import comfy.samplers

    name = SAMPLERS[list(ARCHITECTURES).index(name_of(made)) % len(SAMPLERS)]
    sampler = comfy.samplers.sampler_object(name)
    stock = made.sample(sampler=sampler, steps=2, batch=2, cfg=2.0)
    ours = made.sample(weigh(made.model, "red cat: 1, dog: 1.0")[0], sampler, steps=2, batch=2, cfg=2.0)
    assert torch.equal(ours, stock), name


def test_another_packs_kernel_stays_in_force(made, weigh):
    calls = []

    def kernel(func, *args, **kwargs):
        calls.append(1)
        return func(*args, **kwargs)

    def with_kernel(model):
        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = kernel
        return model

    plain, alone = made.sample(), made.sample(weigh(made.model, WORDS)[0])
    made.sample(with_kernel(made.model))
    before = len(calls)
    model, book = weigh(with_kernel(made.model), WORDS)
    assert close(made.sample(model), alone, plain) and "did not act" not in told(book)
    assert (len(calls) > before) == (before > 0)  # some networks never ask for a kernel


def test_normalized_attention_guidance_and_weights_in_one_run(made, weigh):
    from comfy_extras.nodes_nag import NAGuidance

    def guided(model):
        return NAGuidance.execute(model, 5.0, 0.5, 1.5).args[0]

    stock = made.sample(guided(made.model))
    model, book = weigh(guided(made.model), WORDS)
    ours = made.sample(model)
    assert torch.isfinite(ours).all() and not torch.equal(ours, stock) and "did not act" not in told(book)


@pytest.fixture
def longer(made, monkeypatch) -> Made:
    """With a negative prompt of twice as many rows."""
    positive, ((rows, extra),) = made.prompts(None, {})
    monkeypatch.setattr(
        made, "prompts", lambda louder, also: (positive, [[torch.cat((rows, 0.5 * rows), 1), extra]])
    )
    return made


@pytest.mark.parametrize(
    "made", [name for name in ARCHITECTURES if not name.startswith(OF_ONE_LENGTH)], indirect=True
)
def test_a_negative_prompt_of_another_length(longer, weigh, monkeypatch):
    """In one batch, where ComfyUI repeats the shorter prompt, against each by itself."""
    seen = []

    def cond(model) -> torch.Tensor:
        model = model.clone()
        model.set_model_sampler_post_cfg_function(lambda args: seen.append(args) or args["denoised"])
        longer.sample(model, cfg=2.0)
        return seen.pop()["cond_denoised"]

    plain, (model, book) = cond(longer.model), weigh(longer.model, WORDS)
    together = cond(model)
    assert "did not act" not in told(book) and not torch.equal(together, plain)
    monkeypatch.setattr(longer.model.model, "memory_required", lambda *args, **kwargs: 1e30)
    if name_of(longer) not in REPEATS_COUNT:
        assert close(together, cond(model), plain)
