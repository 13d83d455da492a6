"""Nothing is left behind: after success, an error in the objective or in the model, or an interrupt during a
shift, all is as it was.
"""

import dataclasses
import gc
import weakref

import pytest
import torch

from ..support.demo_model import PROMPT, empty
from ..support.model_state import contents, difference, state_of, tensors_with_a_graph

STEP, SHIFTS = 1, 3


@pytest.fixture
def loaded(tiny):
    """A MODEL of this test's own, run once: what a first run changes is ComfyUI's affair."""
    model = tiny.load()[0]
    tiny.sample(model, steps=2)
    return model


class Failed(Exception):
    """What goes wrong on purpose."""


def spoiled(tiny, then):
    """An objective that does `then()` at its second evaluation, in the middle of the shifts."""
    objective, calls = tiny.recipe().objective, []

    @dataclasses.dataclass(frozen=True)
    class Spoiled:
        needs: object = objective.needs

        def __call__(self, maps, subjects, context):
            calls.append(torch.is_grad_enabled())
            if sum(calls) == 2:
                then()
            return objective(maps, subjects, context)

    return Spoiled()


def fail():
    raise Failed


def with_broken_patch(model, when):
    """The MODEL with another pack's patch that fails in the probe's passes, or in the sampler's own after the
    shifts.
    """
    calls = []

    def patch(n, context, value, extra):
        calls.append(torch.is_grad_enabled())
        if sum(calls) > 1 and (when == "probe" or torch.is_inference_mode_enabled()):
            raise Failed
        return n, context, value

    model = model.clone()
    model.set_model_attn2_patch(patch)
    return model


def succeed(tiny, model):
    assert not torch.equal(
        tiny.sample(tiny.attach(model, step=STEP, shifts=SHIFTS)[0], steps=3), tiny.sample(model, steps=3)
    )


def fail_in_the_objective(tiny, model):
    with pytest.raises(Failed):
        tiny.sample(tiny.attach(model, step=STEP, shifts=SHIFTS, objective=spoiled(tiny, fail))[0], steps=3)


def fail_in_a_pass_of_the_probe(tiny, model):
    with pytest.raises(Failed):
        tiny.sample(tiny.attach(with_broken_patch(model, "probe"), step=STEP, shifts=SHIFTS)[0], steps=3)


def fail_in_the_samplers_next_pass(tiny, model):
    with pytest.raises(Failed):
        tiny.sample(tiny.attach(with_broken_patch(model, "sampler"), step=STEP, shifts=SHIFTS)[0], steps=3)


def interrupt(tiny, model):
    import comfy.model_management as management

    with pytest.raises(management.InterruptProcessingException):
        objective = spoiled(tiny, management.interrupt_current_processing)
        tiny.sample(tiny.attach(model, step=STEP, shifts=SHIFTS, objective=objective)[0], steps=3)


def fail_before_the_first_call(tiny, model):
    with pytest.raises(ValueError):
        tiny.sample(
            tiny.attach(
                model, step=STEP, subjects=tiny.module("gsn_ops.subjects.syntax").parse_subjects("zebra")
            )[0],
            steps=3,
        )


@pytest.mark.parametrize(
    "run",
    (
        succeed,
        fail_in_the_objective,
        fail_in_a_pass_of_the_probe,
        fail_in_the_samplers_next_pass,
        interrupt,
        fail_before_the_first_call,
    ),
    ids=lambda run: run.__name__,
)
def test_everything_is_as_before_and_a_second_branch_is_stock(tiny, loaded, run):
    other = loaded.clone()
    stock = tiny.sample(other, steps=3)
    before, before_other = state_of(loaded), state_of(other)
    run(tiny, loaded)
    gc.collect()
    assert difference(before, state_of(loaded)) == {}
    assert difference(before_other, state_of(other)) == {}
    assert torch.equal(tiny.sample(other, steps=3), stock)
    assert torch.equal(tiny.sample(loaded, steps=3), stock)


def test_a_patched_model_works_again_after_a_failure(tiny, loaded):
    model, book = tiny.attach(loaded, step=STEP, shifts=SHIFTS)
    right = tiny.sample(model, steps=3)
    fail_in_the_objective(tiny, loaded)
    interrupt(tiny, loaded)
    assert torch.equal(tiny.sample(model, steps=3), right) and len(book) == 1


def test_weights_that_ask_for_a_gradient_get_none_and_keep_asking(tiny):
    """Loaded outside inference mode, as scripts do; the run itself outside inference mode too."""
    model = tiny.module("gsn_ops.host.demo.sd").load_demo_model()[0]
    for p in model.model.parameters():
        p.requires_grad_(True)
    patched = tiny.attach(model, step=STEP)[0]
    with torch.inference_mode(False), torch.enable_grad():
        out = run_in_this_mode(tiny, patched)
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert all(p.requires_grad and p.grad is None for p in model.model.parameters())
    assert not out.requires_grad and not torch.equal(out, tiny.sample(model, steps=3))


def run_in_this_mode(tiny, model):
    import comfy.sample

    return comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(empty(), 3),
        4,
        7.5,
        "euler",
        "normal",
        tiny.encode(PROMPT),
        tiny.encode(""),
        empty(),
        disable_pbar=True,
        seed=3,
    )


@pytest.mark.parametrize("name", ("euler", "dpmpp_sde", "ddim"))
def test_the_global_random_numbers_are_those_of_a_stock_run(tiny, name):
    states = []
    for model in (tiny.model, tiny.attach(step=STEP)[0]):
        torch.manual_seed(5)
        tiny.sample(model, name, steps=3)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_cached_sampler_object_and_the_conditioning_are_not_written_to(tiny, host):
    from comfy_extras.nodes_custom_sampler import KSamplerSelect

    sampler, positive = KSamplerSelect.execute("dpmpp_2m")[0], tiny.encode(PROMPT)
    before = dict(vars(sampler)), contents(positive)
    model = tiny.attach(step=STEP)[0]
    once = tiny.sample_with(sampler, tiny.sigmas(steps=3), model)
    assert (dict(vars(sampler)), contents(positive)) == before
    assert torch.equal(tiny.sample_with(sampler, tiny.sigmas(steps=3), model), once)


def test_a_second_node_adds_to_a_copy(tiny):
    """Two refinements on one MODEL: both act, in order, and the model after the first node goes on doing the
    first alone.
    """
    one, _ = tiny.attach(step=1, method="first")
    before = tiny.sample(one)
    two, book = tiny.attach(one, step=3, method="second")
    both = tiny.sample(two)
    assert [(action.method, action.step) for action in book.find(both).recipes] == [
        ("first", 1),
        ("second", 3),
    ]
    assert torch.equal(tiny.sample(one), before)
    assert not torch.equal(both, before)


def test_a_book_keeps_no_model_alive(tiny):
    model, book = tiny.attach(tiny.load()[0], step=STEP)
    network = weakref.ref(model.model)
    out = tiny.sample(model, steps=3)
    del model
    gc.collect()
    assert network() is None
    assert book.find(out).recipes[0].step == STEP


@pytest.mark.parametrize("report", ("full", "curve"))
@pytest.mark.parametrize("end", ("success", "cancel"))
def test_no_graph_is_left_when_a_run_ends(tiny, report, end):
    """Also not that of a pass without a backward pass: the tail after the last wanted layer, a run that is
    cancelled.
    """
    import comfy.model_management

    def stop(step, x0, x, total):
        if end == "cancel" and step == 2:  # during the shifts at step 1
            comfy.model_management.interrupt_current_processing()

    gc.collect()
    before = tensors_with_a_graph()
    try:
        tiny.sample(tiny.attach(step=1, shifts=3, report=report)[0], steps=3, callback=stop)
    except comfy.model_management.InterruptProcessingException:
        assert end == "cancel"
    gc.collect()
    assert tensors_with_a_graph() == before
