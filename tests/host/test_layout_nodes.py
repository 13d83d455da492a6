"""Layout, Apply Layout and GLIGEN in ComfyUI: the same as its own nodes would do, and off is stock."""

from __future__ import annotations

import pytest
import torch

from ..support.gligen import random_gligen

PROMPT = "a red circle and a blue square"
ANSWER = "Objects: [('a red circle', [0, 32, 64, 64]), ('a blue square', [64, 32, 64, 64])]"
CANVAS = {"width": 128, "height": 128}
BOX_DIFF = "BoxDiff (Xie et al. 2023)"


@pytest.fixture(scope="module")
def run(pack):
    """A function: a node's outputs, run as ComfyUI's executor does."""
    nodes = {node.GET_SCHEMA().node_id: node for node in pack.NODES}

    def call(node: str, *args, **kwargs) -> tuple:
        with torch.inference_mode():
            return nodes[node].EXECUTE_NORMALIZED(*args, **kwargs).args

    return call


@pytest.fixture(scope="module")
def layout(run):
    return run("GSNLayout", text=ANSWER, **CANVAS)[0]


@pytest.fixture(scope="module")
def applied(tiny, run, layout):
    return run("GSNApplyLayout", tiny.encode(PROMPT), layout)[0]


@pytest.fixture(scope="module")
def gligen(tiny):
    return random_gligen(tiny.model)


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny.sample(positive=tiny.encode(PROMPT))


def test_the_outputs_of_layout(run):
    text = f"{ANSWER}\nBackground prompt: a photo\nNegative prompt: stars"
    layout, boxes, prompt, each, background, negative, preview, again = run("GSNLayout", text=text, **CANVAS)
    assert prompt == "a photo with a red circle and a blue square"
    assert each == "a photo with a red circle\na photo with a blue square"
    assert background == "a photo" and negative.startswith("stars, ")
    assert preview.shape[0] == 1 and preview.shape[-1] == 3 and preview.std() > 0.02
    assert [tuple(box[k] for k in ("x", "y", "width", "height")) for box in boxes[0]] == [
        (0, 32, 64, 64),
        (64, 32, 64, 64),
    ]
    assert run("GSNLayout", text=again, **CANVAS)[0].objects[1].box == layout.objects[1].box


def test_the_editor_takes_the_boxes_and_gives_them_back(run, layout):
    """ComfyUI's own node, with the boxes of Layout; its bboxes have lost the descriptions, elements not."""
    from comfy_extras.nodes_bounding_boxes import CreateBoundingBoxes

    boxes = run("GSNLayout", text=ANSWER, **CANVAS)[1]
    _, bboxes, elements = CreateBoundingBoxes.execute(128, 128, editor_state=[], bboxes=boxes).args
    assert [e["desc"] for e in elements] == ["a red circle", "a blue square"]
    back = run("GSNLayout", boxes=elements, text=ANSWER, **CANVAS)[0]
    assert [p.box for p in back.objects] == [p.box for p in layout.objects]
    named = run("GSNLayout", boxes=bboxes, names="a red circle, a blue square", **CANVAS)[0]
    assert [(p.name, p.box) for p in named.objects] == [(p.name, p.box) for p in layout.objects]


def test_apply_layout_is_a_chain_of_subject_regions(tiny, run, applied):
    chain = tiny.encode(PROMPT)
    for subject, x in (("red circle", 0.0), ("blue square", 0.5)):
        (chain,) = run("GSNRegion", chain, subject=subject, x=x, y=0.25, width=0.5, height=0.5)
    latents = []
    for positive in (chain, applied):
        model, _, book = run("GSNNursing", tiny.model, method=BOX_DIFF, strength=0.2)
        latents.append(tiny.sample(model, positive=positive))
        assert sum(book.find(latents[-1]).recipes[0].updates) > 0
    assert torch.equal(*latents)


def test_boxes_without_a_layout_are_the_same(tiny, run, applied, pack_module):
    elements = [
        {"type": "obj", "bbox": [250, 0, 750, 500], "desc": "a red circle"},
        {"type": "obj", "bbox": [250, 500, 750, 1000], "desc": "a blue square"},
    ]
    key = pack_module("gsn_ops.host.prompts.conditioning").KEY
    ours = run("GSNApplyLayout", tiny.encode(PROMPT), boxes=elements)[0]
    assert ours[0][1][key].regions == applied[0][1][key].regions


def test_off_is_stock(tiny, run, applied, layout, gligen, plain):
    assert torch.equal(tiny.sample(positive=applied), plain)  # regions alone change nothing
    model, _, _ = run("GSNNursing", tiny.model, method=BOX_DIFF, strength=0.0)
    assert torch.equal(tiny.sample(model, positive=applied), plain)
    off, negative = run(
        "GSNApplyLayout",
        tiny.encode(PROMPT),
        layout,
        gligen=gligen,
        clip=tiny.clip,
        gligen_end=0.0,
        negative=tiny.encode(""),
    )
    assert torch.equal(tiny.sample(positive=off, negative=negative), plain)


def comfyui_own(tiny, host, gligen, conditioning):
    """The same with ComfyUI's own nodes: GLIGEN text boxes on the first 40 %, the plain prompt behind."""
    first = conditioning
    for text, x in (("a red circle", 0), ("a blue square", 64)):
        first = host.GLIGENTextBoxApply().append(first, tiny.plain_clip, gligen, text, 64, 64, x, 32)[0]
    first = host.ConditioningSetTimestepRange().set_range(first, 0.0, 0.4)[0]
    rest = host.ConditioningSetTimestepRange().set_range(conditioning, 0.4, 1.0)[0]
    return host.ConditioningCombine().combine(first, rest)[0]


def test_gligen_acts_for_the_first_part_as_with_comfyuis_nodes(tiny, run, host, layout, gligen, plain):
    empty = tiny.encode("")
    ours, negative = run(
        "GSNApplyLayout", tiny.encode(PROMPT), layout, gligen=gligen, clip=tiny.clip, negative=empty
    )
    with torch.inference_mode():
        theirs = comfyui_own(tiny, host, gligen, tiny.encode(PROMPT, plain=True))
        split = [
            host.ConditioningSetTimestepRange().set_range(empty, low, high)[0][0]
            for low, high in ((0.0, 0.4), (0.4, 1.0))
        ]
    latent = tiny.sample(positive=ours, negative=negative)
    assert torch.equal(latent, tiny.sample(positive=theirs, negative=split))
    assert not torch.equal(latent, plain)
    everywhere, _ = run(
        "GSNApplyLayout", tiny.encode(PROMPT), layout, gligen=gligen, clip=tiny.clip, gligen_end=1.0
    )
    assert not torch.equal(tiny.sample(positive=everywhere), latent)


def test_gligen_ends_in_the_negative_prompt_too(tiny, run, layout, gligen):
    """Behind its end no pass has GLIGEN's patch, neither that of the prompt nor that of the negative one."""
    seen: dict[float, set[bool]] = {}

    def watch(apply, args):
        patches = args["c"]["transformer_options"].get("patches", {})
        seen.setdefault(float(args["timestep"][0]), set()).add("middle_patch" in patches)
        return apply(args["input"], args["timestep"], **args["c"])

    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(watch)
    ours, negative = run(
        "GSNApplyLayout",
        tiny.encode(PROMPT),
        layout,
        gligen=gligen,
        clip=tiny.clip,
        negative=tiny.encode(""),
        gligen_end=0.45,  # between two steps; at 0.4 the third step is exactly there and has both
    )
    tiny.sample(model, positive=ours, negative=negative)
    by_level = [seen[sigma] for sigma in sorted(seen, reverse=True)]
    assert by_level == [{True}] * 3 + [{False}] * 3


def test_a_layout_method_and_gligen_together(tiny, run, layout, gligen):
    ours, negative = run(
        "GSNApplyLayout", tiny.encode(PROMPT), layout, gligen=gligen, clip=tiny.clip, negative=tiny.encode("")
    )
    without = tiny.sample(positive=ours, negative=negative)
    model, _, book = run("GSNNursing", tiny.model, method=BOX_DIFF, strength=0.2)
    latent = tiny.sample(model, positive=ours, negative=negative)
    assert latent.isfinite().all() and not torch.equal(latent, without)
    assert sum(book.find(latent).recipes[0].updates) > 0


def test_lmd_without_an_end_of_gligen_is_lmd_without_gligen(tiny, run, layout, gligen):
    """Single boxes would else have neither GLIGEN nor an energy."""
    numbers = {"seed": 1, "steps": 2, "cfg": 7.5, "sampler_name": "euler", "scheduler": "simple"}
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    plain, off = (
        run("GSNLMDSampler", tiny.model, tiny.clip, layout, latent_image=latent, **numbers, **more)
        for more in ({}, {"gligen": gligen, "gligen_end": 0.0})
    )
    assert torch.equal(plain[0]["samples"], off[0]["samples"]) and plain[5] == off[5]


def test_lmd_says_why_a_run_has_no_update(tiny, run, layout):
    """One step of ddim_uniform begins below the noise levels of the energy."""
    numbers = {"seed": 1, "steps": 1, "cfg": 7.5, "sampler_name": "euler", "scheduler": "ddim_uniform"}
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    said = run("GSNLMDSampler", tiny.model, tiny.clip, layout, latent_image=latent, **numbers)[5]
    assert "no update was needed" not in said and "step" in said.split("; ")[1], said


def test_the_masks_of_lmd_have_the_size_of_the_image(pack_module):
    """A cell of the latent is 42 pixels for Stable Cascade."""
    job = pack_module("gsn_ops.host.sampling.lmd_job")
    assert job.pixels(torch.ones(2, 6, 8, dtype=torch.bool), 42).shape == (2, 252, 336)


def test_what_is_missing_is_said(tiny, run, layout, gligen):
    with pytest.raises(ValueError, match="The box 'a red circle' belongs to no word of the prompt"):
        run("GSNApplyLayout", tiny.encode("a green star"), layout)
    with pytest.raises(ValueError, match="gligen is connected, but no clip"):
        run("GSNApplyLayout", tiny.encode(PROMPT), layout, gligen=gligen)
    with pytest.raises(ValueError, match="There is no layout"):
        run("GSNApplyLayout", tiny.encode(PROMPT))
    with pytest.raises(ValueError, match="no token data"):
        run("GSNApplyLayout", tiny.encode(PROMPT, plain=True), layout)


def test_combined_prompts_share_the_boxes(tiny, run, host, layout, pack_module):
    with torch.inference_mode():
        both = host.ConditioningCombine().combine(tiny.encode("a red circle"), tiny.encode("a blue square"))[
            0
        ]
    ours = run("GSNApplyLayout", both, layout)[0]
    key = pack_module("gsn_ops.host.prompts.conditioning").KEY
    assert [[phrase.label for phrase, _ in extra[key].regions] for _, extra in ours] == [
        ["red circle"],
        ["blue square"],
    ]


def test_relations_act_in_a_run(tiny, run):
    """The method moves the latent, and says which subjects; without a relation it is Latent Refine's loss."""
    positive = tiny.encode("a red circle left of a blue square")
    model, _, book = run("GSNNursing", tiny.model, method="Latent Refine + relations", overrides="shifts=3")
    latent = tiny.sample(model, positive=positive)
    (recipe,) = book.find(latent).recipes
    assert recipe.updates[0] == 3 and recipe.losses[-1][0] < recipe.losses[0][0]
    assert not torch.equal(latent, tiny.sample(positive=positive))


def test_relation_alone_without_a_relation_is_a_plain_run_that_says_why(tiny, run, plain):
    (objective,) = run("GSNObjective", objective="relation")
    model, book = run("GSNRefineModel", tiny.model, shifts=2, objective=objective)
    latent = tiny.sample(model, positive=tiny.encode(PROMPT))
    assert torch.equal(latent, plain)
    assert "left of, right of, above or below" in book.find(latent).status()
