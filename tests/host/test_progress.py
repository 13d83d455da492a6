"""One bar counts steps and shifts, every shift has a preview, and a cancel takes effect within one shift."""

import dataclasses

import pytest
import torch

from ..support.demo_model import PROMPT, empty

N, SHIFTS = 4, 3
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


@pytest.fixture
def previews(monkeypatch):
    """A function that turns previews on, in one of ComfyUI's ways, or off."""
    from comfy.cli_args import LatentPreviewMethod, args

    return lambda method: monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.from_string(method))


@pytest.fixture
def shown(tiny, host):
    """A function: a run of ComfyUI's own KSampler -> its latent, its report, what its bar showed."""
    import comfy.utils

    def run(updates=SHIFTS, step=0, **changes):
        seen = []
        model, book = tiny.attach(step=step, shifts=updates, **changes)
        comfy.utils.set_progress_bar_global_hook(
            lambda value, total, preview, node_id=None: seen.append((value, total, preview))
        )
        try:
            with torch.inference_mode():
                (out,) = host.KSampler().sample(
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
        return out["samples"], book.find(out["samples"]), seen

    return run


def pixels(seen):
    """Each image of the preview, as bytes."""
    return [preview[1].tobytes() for _, _, preview in seen]


def test_previews_through_the_hosts_own_callback(shown, previews):
    previews("latent2rgb")
    _, _, seen = shown()
    assert [value for value, _, _ in seen] == list(range(1, N + SHIFTS + 1))
    assert {total for _, total, _ in seen} == {N + SHIFTS}
    assert all(preview is not None for _, _, preview in seen)


@pytest.mark.parametrize("step", (0, 1))
def test_m2_the_preview_moves_every_five_updates_and_nothing_else_changes(shown, previews, step):
    updates, last = 12, step + 12  # of the updates on the bar
    previews("none")
    plain, without, seen = shown(updates, step)
    assert {preview for _, _, preview in seen} == {None}
    previews("latent2rgb")
    same, report, seen = shown(updates, step)
    images = pixels(seen[step:last])
    changes = [j for j in range(1, updates) if images[j] != images[j - 1]]
    assert changes == [5, 10]
    assert torch.equal(plain, same)
    assert report.recipes[0].forwards == without.recipes[0].forwards


def test_m2_without_previews_no_pass_is_made_for_them(shown, previews, tiny, monkeypatch):
    probe = tiny.module("gsn_ops.host.attention.probe").Probe
    passes = []
    forward = probe._forward
    monkeypatch.setattr(probe, "_forward", lambda self, *given: passes.append(1) or forward(self, *given))
    counts = {}
    for method, updates in (("none", 12), ("latent2rgb", 12), ("none", 4), ("latent2rgb", 4)):
        previews(method)
        shown(updates)
        counts[method, updates] = len(passes)
        passes.clear()
    assert counts["latent2rgb", 12] == counts["none", 12] + 2
    assert counts["latent2rgb", 4] == counts["none", 4]  # the sampler's own steps move it


def test_m2_a_preview_that_fails_ends_the_preview_alone(shown, previews, tiny, monkeypatch):
    unreadable = tiny.module("gsn_ops.torch_ops.unreadable").UnreadablePass
    previews("none")
    plain, _, _ = shown(12)
    preview = tiny.module("gsn_ops.host.sampling.moving_preview").MovingPreview
    probe = tiny.module("gsn_ops.host.attention.probe").Probe
    evaluate, asked = probe.evaluate, []

    def refuses(self, x):
        asked.append(x)
        raise unreadable("this pass")

    def predict(self, x):
        monkeypatch.setattr(probe, "evaluate", refuses)
        try:
            return own(self, x)
        finally:
            monkeypatch.setattr(probe, "evaluate", evaluate)

    own = preview._predict
    monkeypatch.setattr(preview, "_predict", predict)
    previews("latent2rgb")
    same, report, _ = shown(12)
    assert len(asked) == 1 and torch.equal(plain, same) and report.recipes[0].step == 0


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
