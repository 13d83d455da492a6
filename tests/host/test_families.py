"""Which family a model belongs to, or why it is refused."""

import sys
import types

import pytest

from ..support.architectures import ARCHITECTURES, random
from ..support.networks import make


def of_class(config):
    """A stand-in for a MODEL of that class, as far as its name goes."""
    return types.SimpleNamespace(model=types.SimpleNamespace(model_config=config.__new__(config)))


def test_an_architecture_of_another_pack_is_asked_for_when_it_is_met(tiny, monkeypatch):
    """Its hook is called then, once, if no node of ours has asked before."""
    families, finder, asked = (
        tiny.module("gsn_ops.host.architectures.family"),
        tiny.module("gsn_ops.host.find_family"),
        [],
    )

    def gsn_register(gsn):
        asked.append(gsn)
        gsn.register_architecture(sd3, "Elsewhere")

    extensions, sd3 = (
        tiny.module("gsn_ops.host.extensions"),
        tiny.module("gsn_ops.host.architectures.sd3").SD3,
    )
    monkeypatch.setattr(families, "FAMILIES", dict(families.FAMILIES))
    monkeypatch.setattr(extensions, "_CALLED", set(extensions._CALLED))
    pack = types.ModuleType("a_pack_with_an_architecture")
    pack.gsn_register = gsn_register
    monkeypatch.setitem(sys.modules, pack.__name__, pack)
    for _ in range(2):
        assert finder.family_of(of_class(type("Elsewhere", (), {}))) is sd3
    assert asked == [tiny.module("gsn_ops.host.public")]
    with pytest.raises(ValueError, match="This model .Nowhere. is not supported by Semantic Nursing yet"):
        finder.family_of(of_class(type("Nowhere", (), {})))


def test_every_model_of_the_host_is_known_or_refused_by_name(tiny):
    import comfy.supported_models

    finder = tiny.module("gsn_ops.host.find_family")
    reasons = {}
    for config in comfy.supported_models.models:
        model = of_class(config)
        try:
            finder.family_of(model)
        except ValueError as error:
            reasons[config.__name__] = str(error)
    assert not [name for name, reason in reasons.items() if "not supported by Semantic Nursing yet" in reason]
    assert (
        "base model" in reasons["SDXLRefiner"]
        and "videos" in reasons["WAN21_Vace"]
        and "sound" in reasons["StableAudio3"]
    )
    assert "3D" in reasons["Hunyuan3Dv2mini"]
    known = {
        finder.family_of(of_class(c)).name for c in comfy.supported_models.models if c.__name__ not in reasons
    }
    tested = {
        finder.family_of(of_class(getattr(comfy.supported_models, a.config))).name
        for a in ARCHITECTURES.values()
    }
    assert known == tested


@pytest.mark.parametrize(
    "name, more, reason",
    (
        (
            "HiDream",
            {"concat_latent_image": random(1, 4, 9, 14)},
            "HiDream E1 .editing. works on two images side by side",
        ),
        (
            "Z-Image",
            {"reference_latents": [random(1, 4, 8, 8)]},
            "With reference images, the position of the text in Z-Image is not known",
        ),
    ),
)
def test_a_way_of_use_that_is_not_read_is_refused_when_it_is_met(tiny, name, more, reason):
    """The model is supported, this conditioning of it is not; without us the run is ComfyUI's business."""
    made = make(name, tiny)
    with pytest.raises(ValueError, match=reason):
        made.sample(tiny.attach(made.model, step=0)[0], **more)


@pytest.mark.parametrize("name", ("SD1", "Flux"))
def test_a_report_has_the_name_of_the_family(tiny, name):
    """ComfyUI's description of a model answers None for what it has not."""
    made, finder = make(name, tiny), tiny.module("gsn_ops.host.find_family")
    family = finder.family_of(made.model)
    assert family.name and finder.name_of(made.model, family) == family.name
