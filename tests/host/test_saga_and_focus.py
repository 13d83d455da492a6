"""The two methods that do not shift the sampler's latent: SAGA draws a new one, FOCUS turns the model's
prediction.
"""

import dataclasses

import pytest
import torch

from ..support.demo_model import empty


@pytest.fixture(scope="module")
def flow_model(tiny):
    """The embedded network under a flow model's sampling (SD3's, shift 3), by ComfyUI's own node."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    return ModelSamplingSD3().patch(tiny.model, 3.0)[0]


def attach(tiny, model, method, **changes):
    """A model patched with a preset, numbers of its first recipe changed."""
    first, *rest = tiny.module("gsn_ops.optimise.methods").preset(method)
    return tiny.module("gsn_ops.host.sampling.patch").attach(
        model, dataclasses.replace(first, **changes), *rest
    )


def saga(tiny, **changes):
    moment = tiny.module("gsn_ops.schedule").Moment(step=2)
    return attach(tiny, tiny.model, "SAGA (2026)", **{"moment": moment, "shifts": 2, "noises": 3, **changes})


def test_saga_learns_from_a_trajectory_of_its_own(tiny):
    stock = tiny.sample()
    stream = torch.get_rng_state()
    model, book = saga(tiny)
    once = tiny.sample(model)
    assert torch.equal(torch.get_rng_state(), stream)  # as a stock run leaves it
    assert not torch.equal(once, stock) and torch.equal(once, tiny.sample(saga(tiny)[0]))
    action = book.last().recipes[0]
    assert (action.step, action.updates, action.backwards) == (2, (2,), 6)
    assert not torch.equal(once, tiny.sample(saga(tiny, shifts=1)[0]))


def test_saga_at_the_first_step_needs_no_trajectory(tiny):
    moment = tiny.module("gsn_ops.schedule").Moment(step=0)
    calls = []
    note = calls.append  # the pack puts back what a wrapper remembers of its passes, but not through this
    model, _ = saga(tiny, moment=moment, report="curve")
    model = model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, args: note(1) or apply(args["input"], args["timestep"], **args["c"])
    )
    assert torch.isfinite(tiny.sample(model, steps=4)).all()
    assert len(calls) == 6 + 4  # passes for gradients, then the run itself


def test_saga_does_not_throw_a_picture_away(tiny):
    latent = empty() + 1
    stock = tiny.sample(latent=latent)
    model, book = saga(tiny)
    assert torch.equal(tiny.sample(model, latent=latent), stock)
    assert "starts from an image" in book.last().recipes[0].status


def test_focus_turns_the_velocity_downhill(tiny, flow_model):
    losses = {}
    for weight in (0.001, -0.001):  # small: the factor is 2002 at the first step
        model, book = attach(tiny, flow_model, "FOCUS (2025)", weight=weight, end_percent=0.4)
        tiny.sample(model, cfg=1.0)
        action = book.last().recipes[0]
        losses[weight] = [row[0] for row in action.losses]
        assert action.updates == (0,) and action.step == 0
    down, up = losses.values()
    assert down[0] == up[0]  # the latent of the first look is the run's own
    assert all(a < b for a, b in zip(down[1:], up[1:], strict=True))


def test_focus_off_is_stock_and_on_is_deterministic(tiny, flow_model):
    stock = tiny.sample(flow_model, "heun")
    assert torch.equal(tiny.sample(attach(tiny, flow_model, "FOCUS (2025)", weight=0.0)[0], "heun"), stock)
    once, again = (tiny.sample(attach(tiny, flow_model, "FOCUS (2025)")[0], "heun") for _ in range(2))
    assert torch.equal(once, again) and not torch.equal(once, stock)


def test_focus_needs_a_flow_model(tiny):
    model, book = attach(tiny, tiny.model, "FOCUS (2025)")
    out = tiny.sample(model)
    assert "modifies the velocity of flow models" in book.find(out).recipes[0].status
    assert torch.equal(out, tiny.sample())
