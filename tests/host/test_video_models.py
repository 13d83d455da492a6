"""Video models used for images: one frame; and Wan 2.2, whose two networks share a run."""

from dataclasses import replace

import pytest
import torch

from ..support.architectures import ARCHITECTURES, WAN, Architecture
from ..support.networks import loaded


class Continued(Architecture):
    """A run that goes on from another network's latent."""

    def latent(self, batch=1):
        return torch.ones_like(super().latent(batch))


class Clip(Architecture):
    """Three frames."""

    def latent(self, batch=1):
        return super().latent(batch).repeat(1, 1, 3, 1, 1)  # [B, C, 1, h, w] -> [B, C, 3, h, w]


def wan(kind=Architecture):
    return kind(**vars(ARCHITECTURES["Wan"]))


def wan_22_5b():
    """The 5B network: 48 channels, the same attention."""
    return replace(wan(), config="WAN22_T2V", unet={**WAN, "in_dim": 48, "out_dim": 48}, channels=48)


def test_wan_22_in_one_network_is_refined(tiny):
    made, said = loaded(wan_22_5b(), tiny), []
    patched, book = tiny.attach(made.model, said.append, step=0)
    plain, refined = made.sample(), made.sample(patched)
    assert refined.shape == plain.shape and not torch.equal(refined, plain)
    assert book.last().recipes[0].updates == (2,) and said[0].startswith("red cat, blue dog; at step 0")


def test_the_low_noise_network_is_left_alone_and_the_other_one_named(tiny):
    """18 % of the whole schedule is above where the second network begins."""
    made = loaded(wan(Continued), tiny)
    moment = tiny.module("gsn_ops.schedule").Moment(percent=0.18)
    patched, book = tiny.attach(made.model, moment=moment)
    assert torch.equal(made.sample(patched, steps=3), made.sample(steps=3))
    assert not book.last().recipes[0].updates
    assert "of two Wan 2.2 models the high-noise one" in str(book.last())


def test_more_frames_are_refused_before_the_first_step(tiny):
    made = loaded(wan(Clip), tiny)
    patched, _ = tiny.attach(made.model, step=0)
    with pytest.raises(ValueError, match="a video of 3 frames.*set the length of the empty latent to 1"):
        made.sample(patched)
