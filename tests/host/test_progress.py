"""One bar counts steps and shifts, every shift has a preview, and a cancel takes effect within one shift."""

import dataclasses

import pytest
import torch

from ..support.demo_model import PROMPT, empty

N, SHIFTS = 5, 4
CALLBACK_PER_STEP = (
    "euler",
    "heun",
    "dpmpp_2m",
    "dpmpp_sde",
    "uni_pc",
    "sa_solver",
    "sa_solver_pece",
    "ddim",
)


@dataclasses.dataclass
class Seen:
    """One call of the sampler's callback."""

    position: int
    total: int
    x0: torch.Tensor
    modes: tuple[bool, bool]


def run(tiny, name="euler", model=None, **changes):
    """A refined run with everything the callback saw, its book and its latent."""
    seen = []

    def callback(step, x0, x, total):
        seen.append(
            Seen(step, total, x0.clone(), (torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        )

    model, book = tiny.attach(model, **{"shifts": SHIFTS, **changes})
    out = tiny.sample(model, name, steps=N, callback=callback, latent=empty(1, 8, 8))
    return seen, book.find(out), out


@pytest.mark.parametrize("step", (0, 2, N - 1))
@pytest.mark.parametrize("name", CALLBACK_PER_STEP)
def test_the_bar_counts_every_step_and_every_shift_once(tiny, name, step):
    seen, report, _ = run(tiny, name, step=step)
    assert [s.position for s in seen] == list(range(N + SHIFTS))
    assert {s.total for s in seen} == {N + SHIFTS}
    assert report.recipes[0].updates == (SHIFTS,)


@pytest.mark.parametrize("name", ("dpm_fast", "dpm_adaptive"))
def test_the_bar_never_goes_back_in_samplers_with_steps_of_their_own(tiny, name):
    seen, _, _ = run(tiny, name, step=1)
    positions = [s.position for s in seen]
    assert positions == sorted(set(positions)) and {s.total for s in seen} == {N + SHIFTS}


def test_two_refinements_share_the_bar(tiny):
    first, _ = tiny.attach(step=1, shifts=3)
    seen, _, _ = run(tiny, model=first, step=3)
    assert [s.position for s in seen] == list(range(N + 3 + SHIFTS))


def test_shifts_that_are_not_needed_are_skipped_on_the_bar(tiny):
    seen, _, _ = run(tiny, step=1, only_if_needed=True, present_at=0.0)
    positions = [s.position for s in seen]
    assert positions == [0, 1, *range(1 + SHIFTS, N + SHIFTS)] and {s.total for s in seen} == {N + SHIFTS}


@pytest.mark.parametrize("step", (0, 2))
def test_every_call_brings_a_image(tiny, step):
    """Before the first step that is the image predicted from the noise, afterwards the last step's
    prediction.
    """
    seen, report, _ = run(tiny, step=step)
    assert all(s.x0.shape == (1, 4, 8, 8) and s.x0.isfinite().all() for s in seen)
    during = seen[step : step + SHIFTS]
    expected = report.recipes[0].predicted_before.float() if step == 0 else seen[step - 1].x0
    assert all(torch.allclose(s.x0, expected, atol=5e-3) for s in during)


def test_callbacks_run_in_the_samplers_own_mode(tiny):
    """Previews run networks of ComfyUI whose weights are inference tensors: gradients must be off there."""
    seen, _, _ = run(tiny, step=1)
    assert {s.modes for s in seen} == {(False, True)}


def test_previews_through_the_hosts_own_callback(tiny, host):
    import comfy.utils
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    shown, before = [], args.preview_method
    model = tiny.attach(step=0, shifts=SHIFTS)[0]
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, node_id=None: shown.append((value, total, preview))
    )
    args.preview_method = LatentPreviewMethod.Latent2RGB
    try:
        with torch.inference_mode():
            host.KSampler().sample(
                model,
                3,
                N,
                7.5,
                "euler",
                "normal",
                tiny.encode(PROMPT),
                tiny.encode(""),
                {"samples": empty()},
            )
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
        args.preview_method = before
    assert latent_preview.get_previewer(torch.device("cpu"), tiny.model.model.latent_format) is None
    assert [value for value, _, _ in shown] == list(range(1, N + SHIFTS + 1)) and {
        total for _, total, _ in shown
    } == {N + SHIFTS}
    assert all(preview is not None for _, _, preview in shown)


def test_the_second_output_of_a_custom_sampler_is_the_last_steps_prediction(tiny):
    """Shifts call the callback that collects it; the last step comes after them."""
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as custom

    model = tiny.attach(step=N - 1)[0]
    with torch.inference_mode():
        guider = custom.CFGGuider.execute(model, tiny.encode(PROMPT), tiny.encode(""), 7.5)[0]
        outputs = custom.SamplerCustomAdvanced.execute(
            custom.Noise_RandomNoise(3),
            guider,
            comfy.samplers.sampler_object("euler"),
            tiny.sigmas(steps=N),
            {"samples": empty()},
        )
    assert torch.allclose(
        outputs[0]["samples"], outputs[1]["samples"], atol=1e-5
    )  # Euler's last step goes all the way to it


@pytest.mark.parametrize("shift", (0, 2))
def test_a_cancel_takes_effect_within_one_shift(tiny, shift):
    import comfy.model_management as management

    evaluated, step, objective = [], 1, tiny.recipe().objective

    @dataclasses.dataclass(frozen=True)
    class Counting:
        needs: object = objective.needs

        def __call__(self, maps, subjects, context):
            evaluated.append(torch.is_grad_enabled())
            return objective(maps, subjects, context)

    def callback(position, x0, x, total):
        if position == step + shift:
            management.interrupt_current_processing()

    model, book = tiny.attach(step=step, shifts=50, objective=Counting())
    with pytest.raises(management.InterruptProcessingException):
        tiny.sample(model, steps=N, callback=callback)
    assert sum(evaluated) <= shift + 1 and len(book) == 0
    assert not management.interrupt_processing
