"""Editing nodes on sigmas, latents and trajectories that are not theirs: refused before the first call."""

import pytest
import torch

from .test_editing_cases import never
from .test_inversion import SOURCE, TARGET, apart, back, image
from .test_inversion import invert as invert
from .test_inversion import models as models
from .test_inversion import nodes as nodes
from .test_inversion import sampler as sampler

EDITS = pytest.mark.parametrize("name", ("FlowEdit", "RFInversion"))
NO_NUMBERS = torch.tensor([float("nan"), 0.0])
"""What ComfyUI's kl_optimal gives for one step."""


@pytest.fixture(scope="module")
def edit(models, nodes):
    """A function: a run of FlowEdit or RF-Inversion on a flow model that must not be called."""

    def run(name, sigmas, picture):
        demo = models["flow"]
        prompts = [demo.encode(text) for text in (SOURCE, TARGET, "")]
        with torch.inference_mode():
            guider, by = nodes[f"GSN{name}"].EXECUTE_NORMALIZED(never(demo.model), *prompts).args
            return guider.sample(torch.zeros_like(picture), picture, by, sigmas, disable_pbar=True, seed=1)

    return run


@EDITS
def test_sigmas_that_are_no_numbers_are_refused(edit, name):
    with pytest.raises(ValueError, match="the sigmas are not numbers, as kl_optimal gives for 1 step: use"):
        edit(name, NO_NUMBERS, image())


def test_one_step_of_kl_optimal_is_refused(models, invert, sampler):
    demo = models["eps"]
    with pytest.raises(ValueError, match="Invert Image: the sigmas are not numbers"):
        invert(demo, image(), steps=1, scheduler="kl_optimal", model=never(demo.model))
    with pytest.raises(ValueError, match="Inversion Sampler: the sigmas are not numbers"):
        back(demo, None, image(), sampler(), NO_NUMBERS, model=never(demo.model))


@EDITS
def test_sigmas_that_rise_are_refused(edit, name):
    with pytest.raises(ValueError, match="needs sigmas that fall to 0, and these go from 0.0001 to 1"):
        edit(name, torch.tensor([1e-4, 0.5, 1.0]), image())


def test_rf_inversion_refuses_a_schedule_that_ends_in_noise(edit):
    """It begins with the image at the last of them."""
    with pytest.raises(ValueError, match="and these go from 1 to 0.5: connect those of BasicScheduler"):
        edit("RFInversion", torch.tensor([1.0, 0.7, 0.5]), image())


@EDITS
def test_latents_with_frames_are_refused_by_models_of_images(edit, name):
    with pytest.raises(ValueError, match="The latent has 5 dimensions, and this model works on 4: encode"):
        edit(name, torch.tensor([1.0, 0.0]), image()[:, :, None])


def test_invert_image_and_its_sampler_refuse_other_latents(models, invert, sampler):
    demo = models["eps"]
    model, sigmas = never(demo.model), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="The latent has 5 dimensions, and this model works on 4"):
        invert(demo, image()[:, :, None], model=model)
    for latent, cure in (
        (torch.ones(1, 16, 8, 8), "has 16 channels, and this model works on 4: encode the image"),
        (image() * float("nan"), "Inversion Sampler: the latent contains NaN.*try --fp32-vae"),
    ):
        for levels in (sigmas, sigmas.flip(0)):
            with pytest.raises(ValueError, match=cure):
                back(demo, None, latent, sampler(), levels, model=model)


def test_a_trajectory_of_another_kind_of_model_is_refused(models, nodes, invert, sampler):
    """The demo models' latents have the same size, so that only the kind tells them apart."""
    ways = {kind: invert(models[kind], image(), steps=2, check=False)[3] for kind in ("eps", "flow")}
    for kind, other in (("eps", "flow"), ("flow", "eps")):
        demo = models[kind]
        model, told = never(demo.model), ": the trajectory was made by another kind of model. Connect this"
        masked = sampler(trajectory=ways[other], mask=torch.zeros(1, 16, 16))
        with pytest.raises(ValueError, match=f"Inversion Sampler{told}"):
            back(demo, None, image(), masked, demo.sigmas(steps=2), model=model)
        with pytest.raises(ValueError, match=f"Null-Text Inversion{told}"), torch.inference_mode():
            prompts = demo.encode(SOURCE), demo.encode("")
            nodes["GSNNullText"].EXECUTE_NORMALIZED(model, *prompts, ways[other])


def test_a_run_above_the_end_of_the_trajectory_is_refused(models, invert, sampler):
    demo = models["eps"]
    _, _, sigmas, way, _ = invert(demo, image(), steps=3, denoise=0.5, check=False)
    masked = sampler(trajectory=way, mask=torch.zeros(1, 16, 16))
    with pytest.raises(ValueError, match="The trajectory ends at the noise level 1.16, and this run goes on"):
        back(demo, None, image(), masked, demo.sigmas(steps=6), model=never(demo.model))
    assert apart(back(demo, None, image(), masked, sigmas), image()) < 1e-6
