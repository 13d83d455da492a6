"""The turbo demo model: the committed file is what its recipe says, and it draws in few steps at CFG 1."""

import hashlib
import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tools.study.auto import ENOUGH
from tools.study.data import HOW, TURBO_READS
from tools.study.embedded import Demo, judge
from tools.tiny import turbo
from tools.tiny.model_sd3 import SD3
from tools.tiny.prompts import prompts

FEW = HOW["sd3-turbo"]
LAYOUTS = ("turbo", "MM-DiT", "UNet")


@pytest.fixture(scope="module")
def files(pack_module) -> tuple:
    """The modules of the turbo model, its teacher and the UNet."""
    return tuple(pack_module(f"gsn_ops.host.demo.{name}") for name in ("turbo", "sd3", "sd"))


@pytest.fixture(scope="module")
def demo(host) -> Demo:
    return Demo(layout="sd3-turbo")


def test_the_file_tells_how_it_was_made(files):
    path = files[0].PATH
    assert path.stat().st_size <= 8_000_000
    with safetensors.safe_open(path, framework="pt") as file:
        about = file.metadata()
    recipe, hashes = json.loads(about["recipe"]), json.loads(about["sha256"])
    assert [stage["name"] for stage in recipe["stages"]] == ["turbo"]
    assert (recipe["teacher_cfg"], recipe["windows"]) == (4.0, 4)
    assert set(json.loads(about["final_losses"])) == {"turbo"}
    assert about["seed"].isdigit() and "distilled" in about["note"]
    teacher = hashlib.sha256(files[1].PATH.read_bytes()).hexdigest()
    assert hashes["models/tiny_sd3_shapes.safetensors"] == teacher and "tools/tiny/turbo.py" in hashes


def test_the_text_encoders_are_the_teachers_and_the_network_is_another(files):
    student, teacher = (safetensors.torch.load_file(module.PATH) for module in files[:2])
    assert student.keys() == teacher.keys()
    moved = {name for name, tensor in student.items() if not torch.equal(tensor, teacher[name])}
    assert moved and all(name.startswith(SD3.prefixes["network"]) for name in moved)
    assert len(moved) > 0.9 * sum(name.startswith(SD3.prefixes["network"]) for name in teacher)


def test_no_demo_file_is_taken_for_another(files):
    loads = (files[0].load_demo_turbo, files[1].load_demo_sd3, files[2].load_demo_model)
    for i, load in enumerate(loads):
        with pytest.raises(ValueError, match="not the demo model"):
            load(files[(i + 1) % 3].PATH)


def test_m7_a_report_calls_a_demo_model_by_its_own_name(files, pack_module):
    find = pack_module("gsn_ops.host.find_family")
    loads = (files[0].load_demo_turbo, files[1].load_demo_sd3, files[2].load_demo_model)
    models = [load()[0] for load in loads]
    names = [find.name_of(model.clone(), find.family_of(model)) for model in models]
    assert names == [f"demo model ({layout})" for layout in LAYOUTS]


@pytest.mark.parametrize("steps", [4, 8])
def test_the_lines_meet_where_comfyui_has_its_states(demo, steps):
    import comfy.samplers

    sampling = demo.model.get_model_object("model_sampling")
    assert torch.allclose(comfy.samplers.calculate_sigmas(sampling, "simple", steps), turbo.bars(steps))


def test_it_draws_what_was_asked_for_at_cfg_1(demo):
    asked = prompts(1, 8, "validation")
    for steps in (8, 4):
        made = judge(demo.sample(demo.model, asked, replace(FEW, steps=steps)), asked)
        assert sum(v.objects and v.colours for v in made) >= 6, steps


def test_guidance_is_in_its_weights(demo):
    """One step at CFG 1 over the first quarter of the noise leads to where its teacher comes with guidance in
    many, and not to where it comes without.
    """
    import comfy.sample
    import comfy.samplers

    asked, first = prompts(2, 4, "validation"), turbo.bars(4)[:2]
    teacher, euler = Demo(layout="sd3"), comfy.samplers.sampler_object("euler")

    def moved(of: Demo, sigmas, cfg: float):
        empty = torch.zeros(1, 4, 32, 32)
        noise = torch.cat([comfy.sample.prepare_noise(empty, prompt.seed) for prompt in asked])
        texts = of.encode([prompt.text for prompt in asked]), of.encode([""])
        return comfy.sample.sample_custom(
            of.model, noise, cfg, euler, sigmas, *texts, torch.zeros_like(noise), disable_pbar=True, seed=1
        ).flatten(1)

    between = torch.linspace(float(first[0]), float(first[1]), 6)
    guided, unguided = (moved(teacher, between, cfg) for cfg in (HOW["sd3"].cfg, 1.0))
    ours = moved(demo, first, FEW.cfg)
    assert HOW["sd3"].cfg == 4.0 and FEW.cfg == 1.0
    near, far = ((ours - theirs).norm(dim=1) for theirs in (guided, unguided))
    assert (near < far).all() and near.sum() < 0.8 * far.sum(), (near, far)


def test_auto_knows_its_step_what_to_read_and_how_much_is_enough(demo, pack, pack_module):
    node = next(node for node in pack.NODES if node.GET_SCHEMA().node_id == "GSNNursing")
    model = node.EXECUTE_NORMALIZED(demo.model).args[0]
    recipe = model.get_wrappers("outer_sample", "gsn")[0].attached[0].recipe
    needs = recipe.objective.needs
    assert (needs.encoders, needs.blocks, recipe.moment.percent) == ("clip", "2-3", 0.25)
    assert recipe.present_at == recipe.stop_at_presence == 0.97
    chosen = pack_module("gsn_ops.host.own_moment").OF_DEMO_MODELS["demo model (turbo)"]["Auto"]
    assert chosen.reads == f"{TURBO_READS}, {ENOUGH['sd3-turbo']}"  # as the studies measure it
    typed = node.EXECUTE_NORMALIZED(demo.model, overrides="present_at=0.5").args[0]
    recipe = typed.get_wrappers("outer_sample", "gsn")[0].attached[0].recipe
    assert (recipe.present_at, recipe.stop_at_presence) == (0.5, 0.97)
