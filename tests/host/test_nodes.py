"""The nodes as people and saved workflows know them: ids, order, defaults, words, and what they do with bad
input.
"""

import inspect
import json
import re
from pathlib import Path

import pytest
import torch

from ..support.demo_model import PROMPT, empty

ROOT = Path(__file__).resolve().parents[2]
WHEN = ["at_percent FLOAT 0.18", "at_sigma FLOAT 0.0", "at_step INT -1"]
METHODS_OWN = ["at_percent FLOAT -1.0", "at_sigma FLOAT 0.0", "at_step INT -1"]
TUNING = [
    "learning_rate FLOAT 0.01",
    "objective GSN_OBJECTIVE",
    "levels STRING auto",
    "stop_at_loss FLOAT 0.0",
]
WATCHING = ["only_if_needed BOOLEAN False", "report_level COMBO maps and pictures"]

LATENT_REFINE = "Latent Refine (Grimal et al. 2025)"

# For ever: saved workflows hold widget values by position. New inputs go to the end; nothing here is renamed
# or moved.
FROZEN = {
    "GSNNursing": (
        "model MODEL!",
        "clip CLIP",
        "method COMBO Auto",
        "subjects STRING ",
        "strength FLOAT 1.0",
        *METHODS_OWN,
        *WATCHING,
        "overrides STRING ",
        "budget FLOAT 1.0",
        "-> MODEL CLIP GSN_REPORT",
    ),
    "GSNRefineModel": ("model MODEL!", "shifts INT 50", *WHEN, *TUNING, *WATCHING, "-> MODEL GSN_REPORT"),
    "GSNLatentRefine": (
        "model MODEL!",
        "seed INT! 0",
        "steps INT! 20",
        "cfg FLOAT! 8.0",
        "sampler_name COMBO!",
        "scheduler COMBO!",
        "positive CONDITIONING!",
        "negative CONDITIONING!",
        "latent_image LATENT!",
        "denoise FLOAT! 1.0",
        "shifts INT 50",
        *WHEN,
        *TUNING,
        *WATCHING,
        "subjects STRING ",
        "-> LATENT GSN_REPORT",
    ),
    "GSNSeedPicker": (
        "model MODEL!",
        "seed INT! 0",
        "steps INT! 20",
        "cfg FLOAT! 8.0",
        "sampler_name COMBO!",
        "scheduler COMBO!",
        "positive CONDITIONING!",
        "negative CONDITIONING!",
        "latent_image LATENT!",
        "denoise FLOAT! 1.0",
        "candidates INT 4",
        "keep INT 1",
        "look_at INT 0",
        "rank_by COMBO presence",
        "stop_at FLOAT 0.0",
        "finish BOOLEAN True",
        "subjects STRING ",
        "vae VAE",
        "-> LATENT INT IMAGE STRING STRING",
    ),
    "GSNGuidanceModel": (
        "model MODEL!",
        "objective GSN_OBJECTIVE",
        "scale_factor FLOAT 20.0",
        "start_percent FLOAT 0.0",
        "end_percent FLOAT 0.5",
        "thresholds STRING ",
        "max_refine INT 20",
        "scale_start FLOAT 1.0",
        "scale_end FLOAT 0.5",
        "scale_function COMBO square root",
        "levels STRING auto",
        "report_level COMBO maps and pictures",
        "-> MODEL GSN_REPORT",
    ),
    "GSNWordWeight": (
        "model MODEL!",
        "weights STRING ",
        "start_percent FLOAT 0.0",
        "end_percent FLOAT 1.0",
        "strength FLOAT 2.0",
        "blocks STRING auto",
        "text_rows BOOLEAN False",
        "-> MODEL GSN_REPORT",
    ),
    "GSNFlippedNegative": (
        "model MODEL!",
        "negative CONDITIONING!",
        "alpha FLOAT 1.8",
        "start_percent FLOAT 0.0",
        "end_percent FLOAT 1.0",
        "beta FLOAT -0.1",
        "-> MODEL GSN_REPORT",
    ),
    "GSNAlternatePrompts": (
        "model MODEL!",
        "stand_in CONDITIONING!",
        "real CONDITIONING!",
        "steps INT! 20",
        "scheduler COMBO! normal",
        "switch_step INT! 4",
        "every INT 2",
        "sigmas SIGMAS",
        "-> CONDITIONING",
    ),
    "GSNPromptToPrompt": (
        "model MODEL!",
        "source CONDITIONING!",
        "latent LATENT!",
        "target CONDITIONING",
        "edit COMBO auto",
        "weights STRING ",
        "cross_share FLOAT 0.8",
        "word_shares STRING ",
        "self_share FLOAT -1.0",
        "local_blend STRING ",
        "blend_start FLOAT 0.2",
        "blend_threshold FLOAT 0.3",
        "blocks STRING auto",
        "rule COMBO clean",
        "-> MODEL CONDITIONING LATENT GSN_REPORT",
    ),
    "GSNInvert": (
        "model MODEL!",
        "conditioning CONDITIONING!",
        "latent_image LATENT!",
        "steps INT! 20",
        "scheduler COMBO! normal",
        "denoise FLOAT 1.0",
        "method COMBO fireflow",
        "check BOOLEAN True",
        "-> NOISE LATENT SIGMAS GSN_TRAJECTORY STRING",
    ),
    "GSNInversionSampler": (
        "method COMBO fireflow",
        "trajectory GSN_TRAJECTORY",
        "mask MASK",
        "-> SAMPLER",
    ),
    "GSNFlowEdit": (
        "model MODEL!",
        "source CONDITIONING!",
        "target CONDITIONING!",
        "negative CONDITIONING",
        "source_cfg FLOAT 3.5",
        "target_cfg FLOAT 13.5",
        "averages INT 1",
        "plain_steps INT 0",
        "-> GUIDER SAMPLER",
    ),
    "GSNDiffEditMask": (
        "model MODEL!",
        "source CONDITIONING!",
        "target CONDITIONING!",
        "latent_image LATENT!",
        "seed INT! 0",
        "strength FLOAT 0.5",
        "copies INT 10",
        "threshold FLOAT 0.5",
        "clip FLOAT 3.0",
        "image IMAGE",
        "-> MASK IMAGE STRING",
    ),
    "GSNRFInversion": (
        "model MODEL!",
        "source CONDITIONING!",
        "target CONDITIONING!",
        "negative CONDITIONING",
        "target_cfg FLOAT 1.0",
        "eta FLOAT 0.9",
        "start FLOAT 0.0",
        "stop FLOAT 0.25",
        "gamma FLOAT 0.5",
        "decay FLOAT 0.0",
        "-> GUIDER SAMPLER",
    ),
    "GSNPictureGuidance": (
        "model MODEL!",
        "prompt STRING! ",
        "judge_by COMBO CLIP",
        "clip_vision CLIP_VISION",
        "clip CLIP",
        "vae VAE",
        "scale FLOAT 0.1",
        "start_percent FLOAT 0.0",
        "end_percent FLOAT 0.6",
        "-> MODEL",
    ),
    "GSNEmptyRegion": ("masks MASK!", "images IMAGE!", "size FLOAT 0.5", "-> MASK STRING"),
    "GSNSaveNullText": (
        "negative CONDITIONING!",
        "filename_prefix STRING! null_text",
        "latent LATENT",
        "-> STRING",
    ),
    "GSNLoadNullText": ("file COMBO!", "-> CONDITIONING LATENT"),
    "GSNNullText": (
        "model MODEL!",
        "positive CONDITIONING!",
        "negative CONDITIONING!",
        "trajectory GSN_TRAJECTORY!",
        "cfg FLOAT 7.5",
        "iterations INT 10",
        "learning_rate FLOAT 0.01",
        "-> CONDITIONING STRING",
    ),
    "GSNObjective": (
        "objective COMBO cn_iou",
        "weight FLOAT 1.0",
        "levels STRING auto",
        "options STRING ",
        "add_to GSN_OBJECTIVE",
        "-> GSN_OBJECTIVE",
    ),
    "GSNRegion": (
        "conditioning CONDITIONING!",
        "subject STRING ",
        "mask MASK",
        "x FLOAT 0.0",
        "y FLOAT 0.0",
        "width FLOAT 0.5",
        "height FLOAT 1.0",
        "boxes BOUNDING_BOX",
        "canvas_width INT 512",
        "canvas_height INT 512",
        "-> CONDITIONING",
    ),
    "GSNLayoutRequest": (
        "prompt STRING! ",
        "width INT 512",
        "height INT 512",
        "previous GSN_LAYOUT",
        "instruction STRING ",
        "-> STRING",
    ),
    "GSNLayout": (
        "text STRING ",
        "width INT 512",
        "height INT 512",
        "coordinates COMBO auto",
        "names STRING ",
        "boxes BOUNDING_BOX,ARRAY,STRING",
        "-> GSN_LAYOUT BOUNDING_BOX STRING STRING STRING STRING IMAGE STRING",
    ),
    "GSNApplyLayout": (
        "conditioning CONDITIONING!",
        "layout GSN_LAYOUT",
        "boxes BOUNDING_BOX,ARRAY,STRING",
        "width INT 512",
        "height INT 512",
        "gligen GLIGEN",
        "clip CLIP",
        "gligen_end FLOAT 0.4",
        "negative CONDITIONING",
        "-> CONDITIONING CONDITIONING",
    ),
    "GSNTextEncode": ("text STRING!", "clip CLIP!", "subjects STRING ", "-> CONDITIONING STRING"),
    "GSNSubjects": (
        "conditioning CONDITIONING!",
        "subjects STRING ",
        "clip CLIP",
        "text STRING",
        "-> CONDITIONING STRING",
    ),
    "GSNReport": (
        "latent LATENT!",
        "report GSN_REPORT",
        "vae VAE",
        "label STRING ",
        "-> IMAGE STRING STRING",
    ),
    "GSNAttentionMaps": (
        "latent LATENT!",
        "report GSN_REPORT",
        "image IMAGE",
        "subject STRING ",
        "when COMBO after",
        "opacity FLOAT 0.75",
        "-> IMAGE MASK",
    ),
    "GSNJudge": (
        "images IMAGE!",
        "subjects STRING ",
        "conditioning CONDITIONING",
        "detector MODEL",
        "clip CLIP",
        "second_detector MODEL",
        "boxes BOUNDING_BOX",
        "answer STRING",
        "judge_by COMBO what is connected",
        "confidence FLOAT 0.25",
        "colours BOOLEAN True",
        "-> BOOLEAN FLOAT STRING STRING IMAGE MASK",
    ),
    "GSNScores": (
        "images IMAGE!",
        "clip_vision CLIP_VISION!",
        "prompt STRING! ",
        "clip CLIP",
        "subjects STRING ",
        "captions STRING",
        "aesthetic_head COMBO none",
        "-> FLOAT FLOAT FLOAT STRING",
    ),
    "GSNDemoModel": ("model COMBO SD layout (UNet)", "-> MODEL CLIP VAE"),
    "GSNLMDSampler": (
        "model MODEL!",
        "clip CLIP!",
        "layout GSN_LAYOUT!",
        "seed INT! 0",
        "steps INT! 20",
        "cfg FLOAT! 8.0",
        "sampler_name COMBO!",
        "scheduler COMBO!",
        "latent_image LATENT!",
        "prompt STRING ",
        "negative STRING ",
        "strength FLOAT 1.0",
        "frozen FLOAT 0.5",
        "noise_mix FLOAT -1.0",
        "mask_threshold FLOAT 0.25",
        "transfer FLOAT 2.0",
        "gligen GLIGEN",
        "gligen_end FLOAT 0.4",
        "masks MASK",
        "segmenter MODEL",
        "segmenter_clip CLIP",
        "vae VAE",
        "objective GSN_OBJECTIVE",
        "previous GSN_LMD_ROUND",
        "-> LATENT GSN_REPORT GSN_LMD_ROUND LATENT MASK STRING",
    ),
}
CATEGORIES = {
    "GSNNursing": "GSN",
    "GSNRefineModel": "GSN",
    "GSNLatentRefine": "GSN",
    "GSNWordWeight": "GSN",
    "GSNFlippedNegative": "GSN",
    "GSNAlternatePrompts": "GSN",
    "GSNSeedPicker": "GSN",
    "GSNPromptToPrompt": "GSN",
    "GSNInvert": "GSN/edit",
    "GSNInversionSampler": "GSN/edit",
    "GSNFlowEdit": "GSN/edit",
    "GSNNullText": "GSN/edit",
    "GSNSaveNullText": "GSN/edit",
    "GSNPictureGuidance": "GSN/advanced",
    "GSNEmptyRegion": "GSN/edit",
    "GSNLoadNullText": "GSN/edit",
    "GSNRFInversion": "GSN/edit",
    "GSNDiffEditMask": "GSN/edit",
    "GSNTextEncode": "GSN",
    "GSNSubjects": "GSN/advanced",
    "GSNGuidanceModel": "GSN/advanced",
    "GSNObjective": "GSN/advanced",
    "GSNRegion": "GSN/advanced",
    "GSNLayoutRequest": "GSN/layout",
    "GSNLayout": "GSN/layout",
    "GSNApplyLayout": "GSN/layout",
    "GSNLMDSampler": "GSN/layout",
    "GSNReport": "GSN/inspect",
    "GSNAttentionMaps": "GSN/inspect",
    "GSNJudge": "GSN/inspect",
    "GSNScores": "GSN/inspect",
    "GSNDemoModel": "GSN/demo",
}
CHOICES = {
    ("GSNNursing", "report_level"): ["maps and pictures", "numbers only"],
    ("GSNAttentionMaps", "when"): ["after", "before"],
    ("GSNSeedPicker", "rank_by"): ["presence", "focus"],
    ("GSNPictureGuidance", "judge_by"): ["CLIP", "shapes of the demo models"],
    ("GSNJudge", "judge_by"): ["what is connected", "shapes of the demo models"],
    ("GSNDemoModel", "model"): [
        "SD layout (UNet)",
        "SD3 layout (MM-DiT)",
        "SD3 layout, turbo (4 or 8 steps, CFG 1)",
    ],
    ("GSNGuidanceModel", "scale_function"): ["square root", "linear", "constant", "cosine"],
}
NODES = pytest.mark.parametrize("node", list(FROZEN))


@pytest.fixture(scope="module")
def nodes(pack):
    """Node id -> class."""
    return {node.GET_SCHEMA().node_id: node for node in pack.NODES}


@pytest.fixture
def run(nodes):
    """A function: a node's outputs, run as ComfyUI's executor does."""

    def call(node: str, *args, **kwargs) -> tuple:
        with torch.inference_mode():
            return nodes[node].EXECUTE_NORMALIZED(*args, **kwargs).args

    return call


def default_of(item):
    """A widget's default; None for a socket."""
    return None if getattr(item, "force_input", False) else getattr(item, "default", None)


def described(item) -> str:
    """ "name TYPE default", a required one with "!"."""
    default = default_of(item)
    return (
        f"{item.id} "
        f"{item.get_io_type()}{'' if item.optional else '!'}{'' if default is None else f' {default}'}"
    )


def test_the_table_is_complete(nodes):
    assert sorted(nodes) == sorted(FROZEN) == sorted(CATEGORIES)


@NODES
def test_ids_types_order_and_defaults_never_change(nodes, node):
    schema = nodes[node].GET_SCHEMA()
    outputs = "-> " + " ".join(output.get_io_type() for output in schema.outputs)
    assert (*map(described, schema.inputs), outputs) == FROZEN[node]
    assert schema.category == CATEGORIES[node]


def test_choices_never_change(nodes):
    for (node, name), options in CHOICES.items():
        assert next(i.options for i in nodes[node].GET_SCHEMA().inputs if i.id == name) == options


@NODES
def test_everything_has_its_words(nodes, node):
    schema = nodes[node].GET_SCHEMA()
    assert schema.display_name and len(schema.description) > 40
    for item in (*schema.inputs, *schema.outputs):
        assert item.tooltip and item.tooltip.endswith("."), item.id


@NODES
def test_execute_has_the_schemas_inputs_and_defaults(nodes, node):
    """The server fills in no defaults: a script that leaves an optional input out gets those of `execute`."""
    parameters = list(inspect.signature(nodes[node].execute).parameters.values())
    inputs = nodes[node].GET_SCHEMA().inputs
    assert [p.name for p in parameters] == [i.id for i in inputs]
    for parameter, item in zip(parameters, inputs, strict=True):
        default = default_of(item)
        if item.optional:
            assert parameter.default == default, item.id
            assert type(parameter.default) is type(default)


def test_the_ksampler_form_starts_with_exactly_ksamplers_inputs(nodes, host):
    theirs = host.KSampler.INPUT_TYPES()["required"]
    ours = nodes["GSNLatentRefine"].INPUT_TYPES()["required"]
    assert list(ours) == list(theirs)
    for name, (kind, *options) in theirs.items():
        if isinstance(kind, (list, tuple)):
            assert ours[name][1]["options"] == list(kind)
            continue
        assert ours[name][0] == kind
        for key, value in (options[0] if options else {}).items():
            assert key == "tooltip" or ours[name][1][key] == value, (name, key)


@NODES
def test_the_help_page_has_one_pattern_and_tells_every_input_and_default(nodes, node):
    schema = nodes[node].GET_SCHEMA()
    page = (ROOT / "web" / "docs" / f"{node}.md").read_text("utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    assert re.findall("^## (.*)$", page, re.MULTILINE) == ["Inputs", "Outputs", "Example"]
    inputs, outputs = (
        page.split("## Inputs")[1].split("## Outputs")[0],
        page.split("## Outputs")[1].split("## Example")[0],
    )
    rows = dict(re.findall(r"^\| (\w+) \| (.*?) ?\| ", inputs, re.MULTILINE))
    rows.pop("input", None)
    assert list(rows) == [i.id for i in schema.inputs]
    for item in schema.inputs:
        default = default_of(item)
        written = {"": "(empty)", "False": "off", "True": "on"}.get(str(default), str(default))
        if default is not None:
            assert rows[item.id] == written or float(rows[item.id]) == float(written), item.id
    assert [name for name in re.findall(r"^\| (\w+) \|", outputs, re.MULTILINE) if name != "output"] == [
        o.display_name for o in schema.outputs
    ]


def test_the_help_page_of_objectives_names_them_all(nodes):
    page = (ROOT / "web" / "docs" / "GSNObjective.md").read_text("utf-8").split("## Inputs")[0]
    named = {
        name.strip() for row in re.findall(r"^\| (.*?) \|", page, re.MULTILINE) for name in row.split(",")
    }
    assert named >= set(
        next(i.options for i in nodes["GSNObjective"].GET_SCHEMA().inputs if i.id == "objective")
    )


@NODES
def test_the_locales_follow_the_schema(nodes, node):
    schema = nodes[node].GET_SCHEMA()
    assert locale("en")[node] == {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {i.id: {"name": i.display_name or i.id, "tooltip": i.tooltip} for i in schema.inputs},
        "outputs": {
            str(n): {"name": o.display_name, "tooltip": o.tooltip} for n, o in enumerate(schema.outputs)
        },
    }


def locale(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8"))


@NODES
@pytest.mark.parametrize("language", ("zh", "ja", "fr"))
def test_m12_every_description_and_tooltip_is_translated(node, language):
    english, other = locale("en")[node], locale(language)[node]
    assert {part: list(other[part]) for part in ("inputs", "outputs")} == {
        part: list(english[part]) for part in ("inputs", "outputs")
    }
    pairs = [(english["description"], other["description"])]
    for part in ("inputs", "outputs"):
        pairs += [(english[part][key]["tooltip"], other[part][key]["tooltip"]) for key in english[part]]
    for text, translated in pairs:
        assert text != translated, "a text without its translation"
        numbers = re.findall(r"\d+(?:\.\d+)?", text)
        assert not set(numbers) - set(re.findall(r"\d+(?:\.\d+)?", translated)) - {"1", "2"}, translated
        assert language == "fr" or re.search("[\u3040-\u30ff\u4e00-\u9fff]", translated), translated


# What they do


def wrappers(model) -> dict:
    return {kind: list(keys) for kind, keys in model.wrappers.items() if keys}


@pytest.mark.parametrize("settings", [{"strength": 0.0}, {"overrides": "shifts=0"}])
def test_nursing_switched_off_hands_on_a_model_without_any_wrapper(tiny, run, settings):
    model, clip, book = run("GSNNursing", tiny.model, tiny.plain_clip, **settings)
    assert wrappers(model) == wrappers(tiny.model)
    assert len(book) == 0
    with torch.inference_mode():
        ours, theirs = (
            tiny.host.CLIPTextEncode().encode(c, PROMPT)[0][0][0] for c in (clip, tiny.plain_clip)
        )
    assert torch.equal(ours, theirs)


def test_no_shifts_no_wrapper(tiny, run):
    model, _ = run("GSNRefineModel", tiny.model, shifts=0)
    assert wrappers(model) == wrappers(tiny.model)
    assert wrappers(run("GSNRefineModel", tiny.model, shifts=1)[0]) != wrappers(tiny.model)


def test_strength_scales_the_learning_rate(tiny, run, pack_module):
    def rate(**settings):
        model, _, _ = run("GSNNursing", tiny.model, method=LATENT_REFINE, **settings)
        sampling = pack_module("gsn_ops.host.sampling.patch")
        (wrapper,) = model.get_wrappers(sampling.OUTER_SAMPLE, sampling.WRAPPER_KEY)
        return wrapper.attached[-1].recipe.learning_rate

    assert rate() == 0.01
    assert rate(strength=0.5, overrides="learning_rate=0.04") == pytest.approx(0.02)


def ksampler(tiny, seed=5, batch=1, positive=None):
    """KSampler's arguments after the model, small."""
    return (
        seed,
        6,
        7.5,
        "euler",
        "normal",
        positive or tiny.encode(PROMPT),
        tiny.encode(""),
        {"samples": empty(batch)},
    )


def test_the_ksampler_form_without_shifts_is_ksampler_bit_for_bit(tiny, run):
    latent, book = run("GSNLatentRefine", tiny.model, *ksampler(tiny), shifts=0)
    with torch.inference_mode():
        stock = tiny.host.KSampler().sample(tiny.model, *ksampler(tiny))[0]
    assert torch.equal(latent["samples"], stock["samples"])
    assert len(book) == 0


def test_all_three_ways_to_refine_are_one(tiny, run):
    refined, book = run("GSNLatentRefine", tiny.model, *ksampler(tiny), shifts=2, at_step=1)
    for patched in (
        run("GSNRefineModel", tiny.model, shifts=2, at_step=1),
        run("GSNNursing", tiny.model, method=LATENT_REFINE, at_step=1, overrides="shifts=2"),
    ):
        with torch.inference_mode():
            latent = tiny.host.KSampler().sample(patched[0], *ksampler(tiny))[0]
        assert torch.equal(latent["samples"], refined["samples"])
        assert patched[-1].find(latent["samples"]).recipes[0].losses == book.last().recipes[0].losses


def test_one_bar_counts_steps_and_shifts_and_says_each_once(tiny, run):
    bar = []
    model, _ = run("GSNRefineModel", tiny.model, shifts=3, at_step=2)
    tiny.sample(model, steps=6, callback=lambda step, x0, x, total: bar.append((step + 1, total)))
    assert bar == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize(
    "settings, cause, cure",
    [
        ({"shifts": -1}, "shifts is -1", "choose 0 (off"),
        ({"learning_rate": 0.0}, "learning_rate is 0", "set shifts or strength to 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1", "greater than 0"),
        ({"levels": "half"}, "levels is 'half'", "write auto"),
        ({"report_level": "full"}, "report_level is 'full'", "choose one of maps and pictures, numbers only"),
        ({"at_percent": 18.0}, "at_percent is 18", "between 0"),
        ({"subjects": "dog#0"}, "dog#0", "the number after # must be"),
        ({"at_step": 60}, "at_step is 60", "choose a smaller at_step"),
        ({"subjects": "red circel"}, "'red circel' is not in the prompt", "circle"),
    ],
)
def test_bad_settings_are_refused_before_the_model_runs(tiny, run, settings, cause, cure):
    calls = []
    model = tiny.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, args: calls.append(1) or apply(args["input"], args["timestep"], **args["c"])
    )
    with pytest.raises(ValueError) as error:
        run("GSNLatentRefine", model, *ksampler(tiny), **settings)
    assert cause in str(error.value) and cure in str(error.value)
    assert not calls


@pytest.mark.parametrize(
    "settings, cause, cure",
    [
        ({"method": "Magic"}, "Unknown method 'Magic'", "Latent Refine (Grimal et al. 2025)"),
        ({"overrides": "rate=1"}, "overrides, character 1", "learning_rate"),
        ({"strength": -0.5}, "strength is -0.5", "choose 0"),
        ({"at_percent": -0.5}, "at_percent is -0.5", "-1 for the method's own step"),
        ({"at_percent": 18.0}, "at_percent is 18", "between 0"),
        ({"method": "BoxDiff (Xie et al. 2023)", "at_percent": 18.0}, "at_percent is 18", "between 0"),
    ],
)
def test_bad_settings_of_nursing(tiny, run, settings, cause, cure):
    with pytest.raises(ValueError) as error:
        run("GSNNursing", tiny.model, **settings)
    assert cause in str(error.value) and cure in str(error.value)


OURS_PLUS = "Latent Refine + SynGen, Ours+ (Grimal et al. 2025)"


@pytest.mark.parametrize(
    ("settings", "moment"),
    [
        ({}, {"percent": 0.058}),
        ({"at_percent": -1.0}, {"percent": 0.058}),
        ({"at_percent": 0.18}, {"percent": 0.18}),
        ({"at_sigma": 3.0}, {"sigma": 3.0}),
        ({"at_step": 4}, {"step": 4}),
        ({"at_percent": 0.18, "at_step": 0}, {"step": 0}),
    ],
)
def test_minus_one_is_the_methods_own_step_and_every_percent_means_itself(
    tiny, run, pack_module, settings, moment
):
    model, _, _ = run("GSNNursing", tiny.model, method=OURS_PLUS, **settings)
    sampling = pack_module("gsn_ops.host.sampling.patch")
    (wrapper,) = model.get_wrappers(sampling.OUTER_SAMPLE, sampling.WRAPPER_KEY)
    chosen = wrapper.attached[0].recipe.moment
    assert {name: pytest.approx(getattr(chosen, name)) for name in moment} == moment


def test_d5_an_objective_without_its_reference_maps_says_so(tiny, nodes, run):
    offered = next(i.options for i in nodes["GSNObjective"].GET_SCHEMA().inputs if i.id == "objective")
    assert "lmd" in offered and "lmd_transfer" in offered  # LMD Sampler gives it references
    (objective,) = run("GSNObjective", objective="lmd_transfer")
    (boxed,) = run("GSNRegion", tiny.encode(PROMPT), subject="red circle", x=0.0, width=0.5)
    model, book = run("GSNGuidanceModel", tiny.model, objective=objective)[:2]
    samples = tiny.sample(model, positive=boxed)
    assert torch.equal(samples, tiny.sample())
    assert "only LMD Sampler has: connect this objective there" in book.find(samples).recipes[0].status


def test_a_prompt_that_was_not_remembered_says_which_node_remembers(tiny, run):
    with pytest.raises(ValueError, match="Semantic Nursing.*CLIP Text Encode \\(GSN\\).*Set Subjects"):
        run(
            "GSNLatentRefine",
            tiny.model,
            *ksampler(tiny, positive=tiny.encode(PROMPT, plain=True)),
            shifts=1,
            at_step=0,
        )


def test_a_missing_clip_says_so_to_whoever_uses_it(tiny, run):
    _, clip, _ = run("GSNNursing", tiny.model)
    with pytest.raises(AttributeError, match="nothing is connected to its clip input"):
        tiny.host.CLIPTextEncode().encode(clip, PROMPT)


# Text


def test_text_encode_is_the_hosts_text_node_with_a_memory(tiny, run):
    conditioning, table = run("GSNTextEncode", PROMPT, tiny.plain_clip, "blue square")
    stock = tiny.encode(PROMPT, plain=True)
    assert torch.equal(conditioning[0][0], stock[0][0])
    assert torch.equal(conditioning[0][1]["pooled_output"], stock[0][1]["pooled_output"])
    assert re.search(r"square\S*\s+square\s+blue square", table)


def test_text_encode_refuses_a_subject_that_is_not_there_at_once(tiny, run):
    with pytest.raises(ValueError, match="blue sqare.*square"):
        run("GSNTextEncode", PROMPT, tiny.plain_clip, "blue sqare")


def test_subjects_names_them_on_a_copy(tiny, run):
    remembered = tiny.encode(PROMPT)
    named, _ = run("GSNSubjects", remembered, "blue square")
    assert [s.label for s in named[0][1]["gsn"].subjects] == ["blue square"]
    assert remembered[0][1]["gsn"].subjects == ()
    assert named[0][0] is remembered[0][0]


def test_subjects_gives_a_foreign_conditioning_its_memory(tiny, run):
    foreign = tiny.encode(PROMPT, plain=True)
    with pytest.raises(ValueError, match="has no token data from this pack"):
        run("GSNSubjects", foreign, "blue square")
    named, table = run("GSNSubjects", foreign, "blue square", tiny.plain_clip, PROMPT)
    assert "blue square" in table
    _, book = run("GSNLatentRefine", tiny.model, *ksampler(tiny, positive=named), shifts=1, at_step=1)
    assert [s.label for s in book.last().subjects] == ["blue square"]


# Seeing why


@pytest.fixture(scope="module")
def refined(tiny, nodes):
    """LATENT of two images, and the book."""
    with torch.inference_mode():
        return (
            nodes["GSNLatentRefine"]
            .EXECUTE_NORMALIZED(tiny.model, *ksampler(tiny, batch=2), shifts=2, at_step=1)
            .args
        )


def test_report_has_a_page_per_image_and_the_same_numbers_in_words_and_data(tiny, run, refined):
    latent, book = refined
    images, text, data = run("GSNReport", latent, book, tiny.vae, "a title")
    small, _, _ = run("GSNReport", latent, book)
    assert images.shape[0] == small.shape[0] == 2 and images.shape[-1] == 3
    assert 0 <= images.min() and images.max() <= 1
    assert not torch.equal(images[0], images[1]) and not torch.equal(images, small)
    assert text.startswith("a title\n") and "red circle" in text
    (action,) = json.loads(data)["recipes"]
    assert f"{action['losses'][0][1]:.3f} -> {action['loss_after'][1]:.3f} in 2 update steps" in text


def test_report_without_a_run_says_that_nursing_is_off(tiny, run, pack_module):
    latent = {"samples": empty()}
    empty_book = pack_module("gsn_ops.report.book").ReportBook()
    for book, said in ((None, "No report is connected: connect"), (empty_book, "Nursing is off")):
        images, text, data = run("GSNReport", latent, book)
        assert text.startswith(said) and json.loads(data)["status"] == text
        assert images.shape[0] == 1 and images.std() > 0


def test_report_of_another_latent_offers_the_last_run_and_says_so(run, refined):
    latent, book = refined
    images, text, data = run("GSNReport", {"samples": latent["samples"] * 0.9}, book)
    assert "not made in a recorded run" in text and "red circle" in text
    assert "not made in a recorded run" in json.loads(data)["warnings"][0]
    assert images.shape[0] == 2


def test_maps_are_one_picture_and_one_mask_per_subject(tiny, run, refined):
    latent, book = refined
    with torch.inference_mode():
        picture = tiny.vae.decode(latent["samples"])
    heat, masks = run("GSNAttentionMaps", latent, book, picture)
    assert heat.shape == (6, *picture.shape[1:]) and masks.shape == heat.shape[:3]
    assert 0 <= masks.min() and masks.max() <= 1
    assert masks.amax((1, 2)).min() > 0.9 and masks.amin((1, 2)).max() < 0.1
    one, mask = run("GSNAttentionMaps", latent, book, picture, "Blue Square")
    assert torch.allclose(one, heat[1::3], atol=1e-6) and torch.allclose(mask, masks[1::3], atol=1e-6)
    two, _ = run("GSNAttentionMaps", latent, book, picture, "green triangle, red circle")
    assert torch.allclose(two, heat[[2, 0, 5, 3]], atol=1e-6)
    spelled, _ = run("GSNAttentionMaps", latent, book, picture, "the Green Triangles; circle")
    assert torch.allclose(spelled, two, atol=1e-6)


def test_maps_before_and_after_and_without_a_picture(run, refined):
    latent, book = refined
    after, masks = run("GSNAttentionMaps", latent, book)
    before, others = run("GSNAttentionMaps", latent, book, when="before")
    assert after.shape == before.shape == (6, 128, 128, 3)
    assert not torch.equal(masks, others)
    plain, _ = run("GSNAttentionMaps", latent, book, opacity=0.0)
    assert not torch.equal(plain, after)


def test_maps_refuse_what_does_not_fit_in_words(run, refined):
    latent, book = refined
    with pytest.raises(ValueError, match="no subject 'zebra'.*red circle, blue square, green triangle"):
        run("GSNAttentionMaps", latent, book, subject="zebra")
    with pytest.raises(ValueError, match="3 images, but the run made 2"):
        run("GSNAttentionMaps", latent, book, torch.zeros(3, 64, 64, 3))
    with pytest.raises(ValueError, match="when is 'later'"):
        run("GSNAttentionMaps", latent, book, when="later")


def test_maps_that_were_not_kept_give_the_picture_and_empty_masks(tiny, run):
    latent, book = run(
        "GSNLatentRefine", tiny.model, *ksampler(tiny), shifts=1, at_step=1, report_level="numbers only"
    )
    picture = torch.rand(1, 64, 64, 3)
    same, masks = run("GSNAttentionMaps", latent, book, picture)
    assert torch.equal(same, picture) and masks.shape == (1, 64, 64) and not masks.any()
    images, masks = run("GSNAttentionMaps", latent)
    assert images.shape[:3] == masks.shape and not masks.any()
