"""Published checkpoints, known by keys and shapes alone: ComfyUI's detection and the pack's facts find their
way without a special case.

No weight exists here: tensors on the meta device have shapes and no memory, and a whole pass of a network of
12 billion parameters through the capture costs a second.
"""

import types

import pytest
import torch

from ..support.published_checkpoints import DIFFUSION, PUBLISHED, REFINER, REFINER_SETTINGS

META = torch.device("meta")
TELLS_V = DIFFUSION + "output_blocks.11.1.transformer_blocks.0.norm1.bias"


def network_of(config: str, settings: dict):
    """ComfyUI's model of this class with these settings, on the meta device."""
    import comfy.supported_models

    made = getattr(comfy.supported_models, config)(dict(settings))
    made.unet_config.update(settings)
    made.set_inference_dtype(torch.float32, None)
    return made.get_model({}, device=META)


def state_dict(config: str, settings: dict, prefix: str, endings: dict[str, str]) -> dict[str, torch.Tensor]:
    """What a file has in it: ComfyUI's own keys, with the prefix and the endings of the file."""
    found = {}
    for key, t in network_of(config, settings).diffusion_model.state_dict().items():
        ours = next((ours for ours in endings if key.endswith(ours)), None)
        found[prefix + (key if ours is None else key.removesuffix(ours) + endings[ours])] = t
    return found


def detected(checkpoint: dict):
    """ComfyUI's configuration of a file with these keys, found as its loader nodes do."""
    import comfy.model_detection

    prefix = comfy.model_detection.unet_prefix_from_state_dict(checkpoint)
    if not any(key.startswith(prefix) for key in checkpoint):
        prefix = ""
    config = comfy.model_detection.model_config_from_unet(checkpoint, prefix)
    config.set_inference_dtype(torch.float32, None)
    return config, config.get_model(checkpoint, prefix, device=META), prefix


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, host):
    facts = PUBLISHED[request.param]
    checkpoint = state_dict(facts.config, facts.settings, facts.prefix, facts.endings)
    if facts.prediction == "V_PREDICTION":  # ComfyUI tells v-prediction by the size of these weights
        checkpoint[TELLS_V] = torch.linspace(-1, 1, len(checkpoint[TELLS_V]))
    return facts, checkpoint


def test_keys_and_parameters_are_those_of_the_file(published):
    facts, checkpoint = published
    assert {key: tuple(checkpoint[facts.prefix + key].shape) for key in facts.keys} == facts.keys
    assert sum(t.numel() for t in checkpoint.values()) == facts.parameters
    assert sum(t.nbytes for t in checkpoint.values() if t.device != META) < 10_000


def test_the_host_detects_it_and_the_facts_fit(published, tiny):
    """A whole pass on the meta device: number of layers read, level, grid, heads, and the columns of the
    conditioning's rows.
    """

    facts, checkpoint = published
    config, model, prefix = detected(checkpoint)
    assert (type(config).__name__, prefix, model.model_type.name) == (
        facts.config,
        facts.prefix,
        facts.prediction,
    )
    loaded = config.process_unet_state_dict({key.removeprefix(prefix): t for key, t in checkpoint.items()})
    assert {key: t.shape for key, t in loaded.items()} == {
        key: t.shape for key, t in model.diffusion_model.state_dict().items()
    }

    family_of = tiny.module("gsn_ops.host.find_family").family_of
    inputs = tiny.module("gsn_ops.host.architectures.family").Inputs
    capture = tiny.module("gsn_ops.host.attention.capture")
    differentiable = tiny.module("gsn_ops.host.autograd.differentiable")
    family = family_of(types.SimpleNamespace(model=model))
    network, (rows, width) = model.diffusion_model, facts.context
    context = torch.empty(1, rows, width, device=META)
    layout = family.layout(inputs(network, facts.latent, {"c_crossattn": context}, rows))
    seen = capture.Capture(
        layout,
        slice(1, 4),
        family.levels,
        blocks=family.wanted_blocks(network),
        heads=True,
    )
    more = {name: torch.empty(*shape, device=META) for name, shape in facts.more.items()}
    with differentiable.DifferentiableForward(family.rope_kernels, family.in_place), torch.no_grad():
        network(
            torch.empty(*facts.latent, device=META),
            torch.empty(1, device=META),
            context=context,
            **more,
            transformer_options={"optimized_attention_override": seen},
        )
    assert len(seen.state.layers) == facts.layers
    assert {(level, p.shape) for level, p in seen.state.layers} == {
        (facts.level, (1, facts.heads, *facts.grid, 3))
    }
    columns = layout.columns(slice(0, rows), facts.grid[0] * facts.grid[1])
    assert (columns.start, columns.stop) == facts.columns


def test_the_refiner_is_refused_by_name(tiny):
    checkpoint = state_dict("SDXLRefiner", REFINER_SETTINGS, DIFFUSION, {})
    assert {key: tuple(checkpoint[DIFFUSION + key].shape) for key in REFINER} == REFINER
    config, model, _ = detected(checkpoint)
    assert type(config).__name__ == "SDXLRefiner"
    with pytest.raises(ValueError, match="it is the SDXL refiner.* Connect this node to the base model"):
        tiny.module("gsn_ops.host.find_family").family_of(types.SimpleNamespace(model=model))
