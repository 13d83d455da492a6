"""`null` in an API prompt: a required input that is empty, or the word None in a text widget."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("pack")


def node(pack_module, path: str, name: str):
    return getattr(pack_module(f"nodes.{path}"), name)


@pytest.mark.parametrize(
    "path, name", [("nursing", "GSNNursing"), ("refine", "GSNRefineModel"), ("guidance", "GSNGuidanceModel")]
)
def test_b23_an_empty_model_input_is_named(pack_module, path, name):
    with pytest.raises(ValueError, match=r"The MODEL input is empty .*connect a MODEL"):
        node(pack_module, path, name).execute(model=None)


@pytest.mark.parametrize(
    "missing, kind",
    [
        ("model", "MODEL"),
        ("positive", "CONDITIONING"),
        ("negative", "CONDITIONING"),
        ("latent_image", "LATENT"),
    ],
)
def test_b23_an_empty_input_of_the_sampler_is_named(pack_module, tiny, missing, kind):
    inputs = {
        "model": tiny.model,
        "positive": tiny.encode("a red circle"),
        "negative": tiny.encode(""),
        "latent_image": {"samples": torch.zeros(1, 4, 16, 16)},
        missing: None,
    }
    with pytest.raises(ValueError, match=f"The {kind} input is empty"):
        node(pack_module, "refine", "GSNLatentRefine").execute(
            seed=1, steps=2, cfg=1.0, sampler_name="euler", scheduler="normal", **inputs
        )


def test_b23_an_empty_conditioning_or_latent_is_named(pack_module):
    with pytest.raises(ValueError, match="The CONDITIONING input is empty"):
        node(pack_module, "text", "GSNSubjects").execute(None, "cat")
    with pytest.raises(ValueError, match="The CONDITIONING input is empty"):
        node(pack_module, "region", "GSNRegion").execute(None, "cat")
    for name in ("GSNReport", "GSNAttentionMaps"):
        with pytest.raises(ValueError, match="The LATENT input is empty"):
            node(pack_module, "inspect", name).execute(None)


@pytest.mark.parametrize("null", [None, "None"])
def test_b23_null_subjects_are_an_empty_field(pack_module, tiny, null):
    conditioning, table = (
        node(pack_module, "text", "GSNTextEncode").execute("a red circle", tiny.plain_clip, null).args
    )
    assert conditioning[0][1]["gsn"].subjects == () and "red circle (modifier)" in table
    (out, _) = node(pack_module, "text", "GSNSubjects").execute(conditioning, null).args
    assert out[0][1]["gsn"].subjects == ()
    patched, _, _ = (
        node(pack_module, "nursing", "GSNNursing")
        .execute(tiny.model, tiny.plain_clip, subjects=null, overrides=null)
        .args
    )
    (patch,) = patched.get_wrappers("outer_sample", "gsn")
    assert all(one.recipe.subjects == () for one in patch.attached)


def test_b23_null_options_and_levels_are_the_defaults(pack_module):
    objective = node(pack_module, "objective", "GSNObjective")
    assert objective.execute(levels="None", options="None").args == objective.execute().args


def test_b23_an_empty_text_of_the_text_node_is_named(pack_module, tiny):
    with pytest.raises(ValueError, match="The text input is empty .*connect a text"):
        node(pack_module, "text", "GSNTextEncode").execute(text=None, clip=tiny.plain_clip)
