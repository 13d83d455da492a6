"""InstructPix2Pix, a small network with random weights: the given picture reaches the passes of nursing."""

import torch

from ..support.architectures import UNET, UNETS, Architecture
from ..support.networks import loaded


def test_it_is_nursed_under_both_guidances_and_sees_the_picture(tiny):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler as custom

    arch = Architecture("SD15_instructpix2pix", {**UNET, "in_channels": 8}, **UNETS)
    made = loaded(arch, tiny)
    patched, book = tiny.attach(made.model, step=1)

    @torch.inference_mode()
    def run(model, picture):
        also = {"concat_latent_image": picture}
        positive, plain = made.prompts(None, also)
        with_picture = [[rows, {**options, **also}] for rows, options in plain]
        guider = custom.DualCFGGuider.execute(model, positive, with_picture, plain, 7.5, 1.5, "regular")[0]
        sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.linspace(3.0, 0.0, 4)
        given = {"samples": torch.zeros_like(picture)}
        out = custom.SamplerCustomAdvanced.execute(
            custom.Noise_RandomNoise(3), guider, sampler, sigmas, given
        )
        return out[0]["samples"]

    dark, light = torch.zeros(1, 4, 18, 24), torch.ones(1, 4, 18, 24)
    out = run(patched, light)
    recipe = book.find(out).recipes[0]
    assert recipe.updates == (2,) and sorted(recipe.subjects) == ["blue dog", "red cat"]
    assert not torch.equal(out, run(made.model, light)) and not torch.equal(out, run(patched, dark))
    other = book.last().recipes[0]
    assert recipe.losses[0] != other.losses[0]
