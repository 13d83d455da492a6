"""The parts of the demo model's training that can be right or wrong without training anything."""

import dataclasses

import numpy as np
import pytest
import torch

from gsn_ops.judge.demo_detector import detect
from tools.tiny import dataset, denoiser, instruct, mmdit, t5_encoder, trainer, turbo
from tools.tiny.attention_supervision import layer_loss
from tools.tiny.captions import ROW, WORDS, encode
from tools.tiny.latent_frame import latent_to_rgb
from tools.tiny.model_sd import drop_padding
from tools.tiny.recipe import recipe_instruct, recipe_sd, recipe_turbo

PLAN = dataclasses.replace(recipe_sd(1, (8, 4, 4), (40, 40, 40)), batch=8)


def times(n, generator, stage):
    return denoiser.stratified_timesteps(n, generator)


def stage_data(folder, number):
    stage = PLAN.stages[number]
    return dataset.load(
        folder, stage.seed, stage.scenes, stage.share, PLAN.neglect, stage.swap, stage.supervised
    )


def test_schedule_is_stable_diffusions():
    abar = denoiser.alphas_cumprod()
    assert abar.shape == (1000,) and bool((abar.diff() < 0).all())
    sigma = ((1 - abar) / abar).sqrt()  # the range every SD1 sampler knows
    assert abs(sigma[0] - 0.0292) < 1e-4 and abs(sigma[-1] - 14.6146) < 1e-3


def test_timesteps_come_from_every_stratum():
    t = denoiser.stratified_timesteps(50, torch.Generator().manual_seed(0))
    assert sorted((t // 20).tolist()) == list(range(50)) and t.tolist() != sorted(t.tolist())


def test_learning_rate_warms_up_stays_and_falls_to_the_floor():
    stage, plan = recipe_sd(1, (1000, 1, 1)).stages[0], PLAN
    rates = [trainer.learning_rate(step, stage, plan) / stage.lr for step in range(1000)]
    assert 0 < rates[0] < 0.01 and rates[149] == rates[249] == 1
    assert all(a >= b for a, b in zip(rates[250:], rates[251:])) and 0.05 <= rates[-1] < 0.051


def test_pad_dropout_replaces_only_the_end_and_the_padding():
    rows = torch.from_numpy(np.stack([encode("a star"), encode("a red star")])).long()
    context, empty = torch.ones(2, 77, 4), torch.zeros(1, 77, 4)
    out = drop_padding(context, empty, rows, torch.tensor([True, False]))
    assert out[0, :3].eq(1).all() and out[0, 3:].eq(0).all() and out[1].eq(1).all()


def test_batches_are_reproducible_and_the_same_for_any_number_of_workers(tmp_path):
    data, stage = stage_data(tmp_path, 1), PLAN.stages[1]
    alone = trainer.draw_batch(times, data, stage, PLAN, 3, 0, 1)
    parts = [trainer.draw_batch(times, data, stage, PLAN, 3, rank, 2) for rank in (0, 1)]
    for whole, *halves in zip(
        dataclasses.astuple(alone[0]) + alone[1:], *(dataclasses.astuple(p[0]) + p[1:] for p in parts)
    ):
        assert all(torch.equal(whole[rank::2], half) for rank, half in enumerate(halves))
    assert not torch.equal(alone[2], trainer.draw_batch(times, data, stage, PLAN, 4, 0, 1)[2])


def test_the_data_set_is_read_again_and_marks_only_drawn_objects(tmp_path):
    first, again = stage_data(tmp_path, 1), stage_data(tmp_path, 1)
    assert (first.images == again.images).all() and (first.columns == again.columns).all()
    there = first.columns[..., 0] >= 0
    assert (first.masks.any((2, 3)) == there).all() and 0 < there.sum() < there.size


def test_a_blank_caption_supervises_nothing_and_a_flip_mirrors_image_and_masks(tmp_path):
    data, yes, no = stage_data(tmp_path, 1), np.ones(4, bool), np.zeros(4, bool)
    plain, flipped, blank = (
        dataset.take(data, np.arange(4), f, b) for f, b in ((no, no), (yes, no), (no, yes))
    )
    assert torch.equal(flipped.latent.flip(3), plain.latent) and torch.equal(
        flipped.masks.flip(3), plain.masks
    )
    assert (blank.columns == -1).all() and (blank.rows[:, 1:] == ROW["<|endoftext|>"]).all()


def test_supervision_rewards_maps_on_their_object():
    masks = torch.zeros(1, 3, 32, 32)
    masks[0, 0, :16, :16] = 1
    columns = torch.tensor([[[5, 4], [-1, -1], [-1, -1]]])
    on, off = torch.full((1, 16, 16, 77), 1e-4), torch.full((1, 16, 16, 77), 1e-4)
    on[0, :8, :8, 4:6], off[0, 8:, 8:, 4:6] = 0.45, 0.45
    weight = torch.ones(1)

    def loss(maps, columns=columns, weight=weight, token=1.0, pixel=1.0):
        return float(layer_loss(maps.flatten(1, 2), masks, columns, weight, token, pixel))

    assert loss(on, token=1, pixel=0) < 1e-3 < 0.9 < loss(off, token=1, pixel=0)
    # pixel loss of one noun: -(1/4 log A inside + 3/4 log(1 - A) outside)
    assert abs(loss(on, token=0) - (-0.25 * np.log(0.45) - 0.75 * np.log(1 - 1e-4))) < 1e-4
    assert loss(on) < loss(off)
    assert loss(off, columns=torch.full_like(columns, -1)) == 0 and loss(off, weight=torch.zeros(1)) == 0


def test_the_loss_weight_favours_noise_and_forgets_the_last_polish():
    weight = denoiser.loss_weight(denoiser.alphas_cumprod())
    assert weight[0] < 0.01 and weight[-1] > 10 and bool(weight.isfinite().all())


def test_flow_times_follow_the_shifted_schedule_and_come_from_every_stratum():
    t = mmdit.times(40, torch.Generator().manual_seed(0))
    u = t / (3 - 2 * t)  # the inverse of 3u / (1 + 2u)
    assert sorted((u * 40).long().tolist()) == list(range(40)) and 0 < t.min() and t.max() < 1
    assert (t > 0.75).sum() == 20  # shift 3: half of the run is above 0.75


def test_middle_times_are_those_of_a_logit_normal():
    t = mmdit.middle_times(1000, torch.Generator().manual_seed(0))
    logit = torch.logit(t)
    assert abs(logit.mean() - 0.5) < 0.01 and abs(logit.std() - 1) < 0.01


def test_signal_is_that_of_the_same_noise_in_a_variance_preserving_model():
    t = torch.tensor([0.1, 0.5, 0.9])
    sigma = t / (1 - t)
    assert torch.allclose(mmdit.signal(t), (1 + sigma.square()).rsqrt())


def test_recut_captions_read_as_t5_cuts_them():
    rows = np.stack([encode("a photo of a red star and a heart"), encode("")])
    pieces, where = t5_encoder.recut(rows)
    read = [[t5_encoder.PIECES[p] for p in row] for row in pieces]
    assert "|".join(read[0][:14]) == "\u2581|a|photo|of|\u2581|a|red|star|and|\u2581|a|heart|</s>|<pad>"
    assert read[1][:2] == ["</s>", "<pad>"] and set(read[0][13:]) == {"<pad>"}
    for column in range(1, 10):
        assert read[0][where[0, column]] == WORDS[rows[0, column]]


def test_buckets_are_t5s():
    b = t5_encoder.buckets(200)
    assert b[100, 100] == 0 and b[100, 99] == 1 and b[100, 101] == 17 and b[100, 93] == 7 and b[100, 92] == 8
    assert b[199, 0] == 15 and b[0, 199] == 31  # beyond the last bucket: 128 and more
    assert bool((b[100, :101].diff() <= 0).all())


class Straight(turbo.Turbo):
    """A teacher whose guided velocity is 2t, whatever the text: its trajectories are parabolas."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def text(self, rows, drop=None):
        return torch.zeros(len(rows), 154, 64)

    def velocity(self, x, t, context):
        return (2 * t).view(-1, 1, 1, 1).expand_as(x)


def turbo_data(folder, teacher=Straight):
    plan = dataclasses.replace(recipe_turbo(1, (8,)), part=8, first_parts=2, batch=8, part_every=3)
    data = turbo.Trajectories(folder, plan)
    data.teacher = teacher()
    return plan, data


def test_trajectories_are_of_second_order(tmp_path):
    _, data = turbo_data(tmp_path)
    assert data.until(2) == 16
    _, states = data.take(np.arange(16))
    assert states.shape == (16, 5, 4, 32, 32)
    moved = (states - states[:, :1]).mean((0, 2, 3, 4))  # x(t) = x(1) + t^2 - 1
    assert (moved - (turbo.bars(4).square() - 1)).abs().max() < 0.006  # the first step alone is Euler's


def test_guided_means_away_from_the_empty_prompt(tmp_path):
    class Two(Straight):
        def velocity(self, x, t, context):
            return torch.tensor([1.0, 0.5]).repeat_interleave(len(x) // 2).view(-1, 1, 1, 1).expand_as(x)

    _, data = turbo_data(tmp_path, Two)
    data.until(2)
    states = data.take(np.arange(4))[1]
    assert torch.allclose(states[:, 0] - states[:, -1], torch.tensor(0.5 + 4 * 0.5), atol=5e-3)


def test_points_lie_on_the_lines_and_their_times_are_those_of_4_and_8_steps(tmp_path):
    plan, data = turbo_data(tmp_path)
    rows, x, t, velocity = turbo.draw_batch(None, data, plan.stages[0], plan, 0, 0, 1)
    assert rows.shape == (8, 77) and x.shape == velocity.shape == (8, 4, 32, 32)
    meet = turbo.bars(4)
    first = torch.stack([meet[meet >= at - 1e-6].min() for at in t])
    x_first = x + (first - t).view(-1, 1, 1, 1) * velocity
    every = data.take(np.arange(data.until(2)))[1]
    every = torch.cat([every, every.flip(-1)]).flatten(0, 1)
    assert all(float((every - one).square().mean((1, 2, 3)).min()) < 1e-6 for one in x_first)
    window, times = turbo.places(4000, plan, np.random.default_rng(0))
    assert window.bincount().tolist() == [1000] * 4
    known = [
        ((times[:, None] - at).abs() < 1e-6).any(1).float().mean() for at in (meet[:-1], turbo.bars(8)[1::2])
    ]
    assert abs(known[0] - 0.5) < 0.03 and abs(known[1] - 0.3) < 0.03
    assert bool((times <= meet[window]).all() and (times >= meet[window + 1]).all())


def test_a_killed_distillation_reads_its_parts_again_and_draws_the_same_batches(tmp_path):
    plan, data = turbo_data(tmp_path)
    batch = turbo.draw_batch(None, data, plan.stages[0], plan, 4, 0, 1)
    assert len(list(data.folder.glob("*.npz"))) == 3  # two at first, one more after three updates
    assert [plan.parts(n) for n in (0, 2, 3, 7)] == [2, 2, 3, 4]
    _, again = turbo_data(tmp_path, teacher=lambda: None)
    for a, b in zip(batch, turbo.draw_batch(None, again, plan.stages[0], plan, 4, 0, 1), strict=True):
        assert torch.equal(a, b)
    shares = [turbo.draw_batch(None, again, plan.stages[0], plan, 4, rank, 2)[1] for rank in (0, 1)]
    assert all(torch.equal(batch[1][rank::2], share) for rank, share in enumerate(shares))


def test_pairs_differ_in_the_object_that_the_instruction_names_and_nowhere_else():
    pairs = instruct.pairs_of(np.random.default_rng(3), 24, (0.0, 0.6, 0.4))
    images = [
        (latent_to_rgb(z).clamp(0, 1) * 255).round().byte().numpy() for z in (pairs.before, pairs.after)
    ]
    for i, text in enumerate(pairs.texts):
        _, _, *old, _, colour, shape = text.split()
        seen = [{(f.colour, f.shape) for f in detect(picture[i])} for picture in images]
        assert tuple(old) in seen[0] and (colour, shape) in seen[1] and tuple(old) != (colour, shape)
        assert seen[0] - seen[1] == {tuple(old)} and seen[1] - seen[0] == {(colour, shape)}
    assert pairs.rows[0, 1] == pairs.rows[0, 2] == len(WORDS)  # make, the: unknown to the encoder


def test_text_and_picture_are_left_out_alone_and_together():
    plan = dataclasses.replace(recipe_instruct(1, (8,)), batch=600)
    pairs, t, noise = instruct.draw_batch(times, None, plan.stages[0], plan, 2, 0, 1)
    no_text = (pairs.rows == torch.from_numpy(dataset.EMPTY).long()).all(1)
    no_picture = (pairs.before == 0).flatten(1).all(1)
    shares = [part.float().mean().item() for part in (no_text, no_picture, no_text & no_picture)]
    assert shares == pytest.approx([0.1, 0.1, 0.05], abs=0.03)
    half = instruct.draw_batch(times, None, plan.stages[0], plan, 2, 1, 2)
    assert (
        torch.equal(half[0].after, pairs.after[1::2]) and torch.equal(half[2], noise[1::2]) and len(t) == 600
    )
