"""What cannot work is refused before the first model call, in words that name cause and cure; what can wait
is said in the report.
"""

import dataclasses
import math
import sys

import pytest
import torch

from ..support.demo_model import NEVER, PROMPT, empty, recording


@pytest.fixture
def refused(tiny):
    """A function: the run raises an error with these words, and the network was not called."""

    def check(words, *, run=None, **changes):
        seen = []
        model = tiny.attach(recording(tiny.model, seen), **{"step": 1, **changes})[0]
        with pytest.raises(ValueError) as error:
            tiny.sample(model, **(run or {}))
        for part in [words] if isinstance(words, str) else words:
            assert part in str(error.value)
        assert seen == []

    return check


@pytest.fixture
def typed(tiny):
    return tiny.module("gsn_ops.subjects.syntax").parse_subjects


def test_a_typed_phrase_that_is_not_in_the_prompt_names_the_nearest_word(refused, typed):
    refused(("squares", "square", "circle", "triangle"), subjects=typed("red circle, squares of gold"))


def test_spacy_asked_for_but_not_installed(refused, typed, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)  # as if not installed, wherever this runs
    refused(("@spacy requests spaCy", "pip install spacy", "remove @spacy"), subjects=typed("@spacy"))


def test_a_region_needs_the_words_of_a_subject(tiny, typed):
    region = tiny.module("gsn_ops.regions").Region(boxes=((0.0, 0.0, 0.5, 1.0),))
    with pytest.raises(ValueError, match="type its words as they stand in the prompt"):
        tiny.module("gsn_ops.host.prompts.conditioning").with_region(
            tiny.encode(PROMPT), typed("@spacy"), region
        )


def test_a_conditioning_without_memory_names_the_nodes_that_give_it_one(tiny, refused):
    refused(
        (
            "has no token data from this pack",
            "'Semantic Nursing'",
            "'CLIP Text Encode (GSN)'",
            "'Set Subjects'",
        ),
        run={"positive": tiny.encode(PROMPT, plain=True)},
    )


def test_memory_on_the_negative_does_not_count(tiny, refused):
    refused(
        "has no token data from this pack",
        run={"positive": tiny.encode(PROMPT, plain=True), "negative": tiny.encode(PROMPT)},
    )


def test_zeroed_conditioning(tiny, refused, host):
    refused(
        ("all zeros", "ConditioningZeroOut"),
        run={"positive": host.ConditioningZeroOut().zero_out(tiny.encode(PROMPT))[0]},
    )


def test_conditioning_that_was_cut_after_its_prompt_was_encoded(tiny, refused):
    ((rows, extra),) = tiny.encode(PROMPT)
    refused(("has 40 rows", "made 77", "Encode the prompt again"), run={"positive": [[rows[:, :40], extra]]})


@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_a_latent_that_is_not_finite(refused, value):
    latent = empty()
    latent[0, 0, 0, 0] = value
    refused(("latent", "NaN or infinite"), run={"latent": latent, "noise": torch.zeros_like(latent)})
    refused(("noise", "NaN or infinite"), run={"noise": latent})


def test_video_latent(refused):
    refused(
        ("video of 3 frames", "length of the empty latent to 1"), run={"latent": torch.zeros(1, 4, 3, 16, 16)}
    )


def test_latent_of_several_parts(refused):
    import comfy.nested_tensor

    latent = comfy.nested_tensor.NestedTensor([empty(), torch.zeros(1, 4, 8)])
    refused("several parts", run={"latent": latent})


@pytest.mark.parametrize(
    "name, says",
    (
        ("Brandnew", "Brandnew.* not supported .*Stable Diffusion 1.x"),
        ("GenmoMochi", r"GenmoMochi\): it makes videos.* stock sampler"),
        ("SDXLRefiner", "Connect this node to the base model"),
    ),
)
def test_a_model_without_a_known_family_is_refused_by_name(tiny, name, says):
    import comfy.model_patcher
    import comfy.supported_models
    import comfy.supported_models_base

    known = getattr(comfy.supported_models, name, comfy.supported_models_base.BASE)
    network = torch.nn.Module()
    network.model_config = type(name, (known,), {})({})
    model = comfy.model_patcher.ModelPatcher(network, torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(ValueError, match=says):
        tiny.attach(model)


def test_a_moment_outside_the_run_is_an_error_where_it_was_asked_for(refused):
    refused(("at_step is 999", "6 steps"), step=NEVER, strict=True)


def test_a_moment_outside_the_run_skips_a_patch_and_is_said(tiny):
    said = []
    model, book = tiny.attach(step=NEVER, on_status=said.append)
    out = tiny.sample(model)
    assert torch.equal(out, tiny.sample())
    for text in (said[0], said[-1], book.find(out).recipes[0].status):
        assert "skipped" in text.lower() and "at_step is 999" in text


def test_a_second_pass_with_too_little_noise_names_the_cure(tiny):
    schedule = tiny.module("gsn_ops.schedule")
    model, book = tiny.attach(moment=schedule.Moment(percent=0.18))
    out = tiny.sample(model, denoise=0.3, latent=torch.ones(1, 4, 16, 16))
    assert "raise denoise" in book.find(out).recipes[0].status


def test_no_subjects_found_is_a_stock_run_and_a_visible_line(tiny):
    said, positive = [], tiny.encode("beautifully and slowly")
    model, book = tiny.attach(step=1, on_status=said.append)
    out = tiny.sample(model, positive=positive)
    assert torch.equal(out, tiny.sample(positive=positive))
    assert "no subjects found" in said[0] and "no subjects found" in book.find(out).status()


def test_a_prompt_that_is_not_in_force_at_the_step_is_said(tiny, host):
    late = host.ConditioningSetTimestepRange().set_range(tiny.encode(PROMPT), 0.9, 1.0)[0]
    positive = tiny.encode(PROMPT, plain=True) + late
    model, book = tiny.attach(step=1)
    out = tiny.sample(model, positive=positive)
    assert torch.equal(out, tiny.sample(positive=positive))
    assert "timestep range" in book.find(out).recipes[0].status


def test_a_sampler_that_never_shows_its_state_is_said(tiny):
    import comfy.samplers

    model, book = tiny.attach(step=2)
    out = tiny.sample_with(comfy.samplers.ksampler("euler", {"s_churn": 2.0}), tiny.sigmas(steps=4), model)
    report = book.find(out)
    assert "never showed its state at step 2" in report.warnings[0] and "skipped" in report.recipes[0].status


def test_context_windows(tiny):
    model = tiny.attach(step=1)[0]
    model.model_options["context_handler"] = object()
    with pytest.raises(ValueError, match="Context windows"):
        tiny.sample(model)


@pytest.mark.parametrize("broken", ("loss", "gradient"))
def test_a_loss_that_is_not_finite_keeps_the_last_good_latent_and_is_said(tiny, broken):
    """Three shifts of which the third look breaks: what is left is what two looks, one update, gave."""
    objective = tiny.recipe().objective

    @dataclasses.dataclass(frozen=True)
    class Breaks:
        calls: list
        needs: object = objective.needs

        def __call__(self, maps, subjects, context):
            loss = objective(maps, subjects, context)
            if torch.is_grad_enabled():
                self.calls.append(1)
            if len(self.calls) < 3 or not torch.is_grad_enabled():
                return loss
            return loss * math.nan if broken == "loss" else loss + 0 * (loss - loss.detach()).sqrt()

    said = []
    model, book = tiny.attach(step=1, shifts=4, objective=Breaks([]), on_status=said.append)
    out = tiny.sample(model)
    action = book.find(out).recipes[0]
    assert action.updates == (1,) and math.isnan(action.losses[2][0]) == (broken == "loss")
    assert "not finite" in said[-1] and "last good latent was kept" in said[-1]
    assert torch.equal(out, tiny.sample(tiny.attach(step=1, shifts=1)[0]))


def test_an_all_broken_loss_leaves_a_stock_run(tiny):
    objective = tiny.recipe().objective

    @dataclasses.dataclass(frozen=True)
    class Nan:
        needs: object = objective.needs

        def __call__(self, maps, subjects, context):
            return objective(maps, subjects, context) * math.nan

    model, book = tiny.attach(step=1, shifts=3, objective=Nan())
    out = tiny.sample(model)
    assert torch.equal(out, tiny.sample()) and book.find(out).recipes[0].updates == (0,)


@pytest.mark.parametrize("value", (0.0, -0.01, math.nan))
def test_a_learning_rate_that_cannot_work_is_refused_by_the_node(tiny, value):
    node = tiny.module("nodes.refine").GSNRefineModel
    with pytest.raises(ValueError, match="learning_rate is"):
        node.execute(tiny.model, learning_rate=value)
