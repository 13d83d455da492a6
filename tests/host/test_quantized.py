"""Checkpoints with quantized layers, as ComfyUI reads them: weights that are tensors of a kind of their own,
made of several.
"""

import json

import pytest
import torch
import torch.nn.functional as F

from ..support.architectures import ARCHITECTURES
from ..support.networks import Made, contents, graphs_in, one_pass

NAMES = ("SDXL", "SD3", "Flux", "Qwen-Image", "Z-Image")
ALL = {"heads": True, "self_rows": True}
FORMATS = {"float8_e4m3fn": (torch.float8_e4m3fn, 448), "int8_tensorwise": (torch.int8, 127)}


def with_its_double(arch, tiny, kind: str) -> tuple[Made, Made]:
    """The network with every linear layer of its blocks quantized, loaded from a state dict, and one with the
    same numbers in float32.
    """
    import comfy.model_patcher
    import comfy.supported_models

    double, (dtype, largest) = arch.build(), FORMATS[kind]
    stored, rounded = {}, {}
    linear = {
        f"{name}.weight"
        for name, m in double.diffusion_model.named_modules()
        if isinstance(m, torch.nn.Linear)
    }
    for name, p in double.diffusion_model.state_dict().items():
        layer = name.removesuffix(".weight")
        if name in linear and ("block" in name or "layers" in name):
            scale = p.abs().max() / largest
            q = (p / scale).round().to(dtype) if dtype == torch.int8 else (p / scale).to(dtype)
            told = torch.tensor(list(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
            stored |= {name: q, f"{layer}.weight_scale": scale.clone(), f"{layer}.comfy_quant": told}
            rounded[name] = q.float() * scale
        else:
            stored[name] = rounded[name] = p.clone()
    config = getattr(comfy.supported_models, arch.config)(dict(arch.unet))
    config.unet_config.update(arch.settings)
    config.quant_config = {"mixed_ops": True}
    config.set_inference_dtype(torch.float32, None)
    model, cpu = config.get_model({}, device=torch.device("cpu")), torch.device("cpu")
    missing, unexpected = model.diffusion_model.load_state_dict(stored, strict=False)
    assert not missing and not unexpected
    double.diffusion_model.load_state_dict(rounded)
    both = tuple(
        Made(
            arch,
            comfy.model_patcher.ModelPatcher(
                m.eval().requires_grad_(False), load_device=cpu, offload_device=cpu
            ),
            tiny,
        )
        for m in (model, double)
    )
    for made in both:
        made.sample()
    return both


@pytest.fixture(scope="module", params=[(name, kind) for name in NAMES for kind in FORMATS], ids="-".join)
def both(request, tiny):
    name, kind = request.param
    with torch.inference_mode():  # as a loader node does
        quantized, double = with_its_double(ARCHITECTURES[name], tiny, kind)
    return (
        quantized,
        double,
        0.9999 if kind == "float8_e4m3fn" else 0.99,
    )  # int8 is multiplied as such, by rounded activations


def test_maps_and_gradient_are_those_of_the_numbers_that_the_weights_mean(both):
    quantized, double, alike = both
    network = quantized.model.model.diffusion_model
    weights = [p for p in network.parameters() if type(p.data) is not torch.Tensor]
    assert len(weights) > 10 and all(w.is_inference() for w in weights)
    before = contents(quantized.model)
    found, right = (
        made.at_state(lambda probe, z, conds: one_pass(probe, z), needs=ALL) for made in (quantized, double)
    )
    assert (found.maps - right.maps).abs().max() < (1 - alike) ** 0.5 * right.maps.max()
    assert F.cosine_similarity(found.gradient.flatten(), right.gradient.flatten(), 0) > alike
    assert contents(quantized.model) == before and not graphs_in(quantized.model)
    again = [p for p in network.parameters() if type(p.data) is not torch.Tensor]
    assert len(again) == len(weights) and all(a is b for a, b in zip(again, weights, strict=True))


def test_where_memory_is_short_blocks_are_measured_and_computed_twice(both, pack_module, monkeypatch):
    quantized, *_ = both
    memory = pack_module("gsn_ops.host.attention.memory_policy")

    def look(probe, z, conds):
        once = one_pass(probe, z)
        probe.checkpoint_policy = memory.CheckpointPolicy()
        monkeypatch.setattr(memory.management, "get_free_memory", lambda device: 1.0)
        measured = one_pass(probe, z), probe.checkpoint_policy.level
        monkeypatch.undo()
        return once, measured

    once, (twice, level) = quantized.at_state(look, needs=ALL)
    assert level == memory.LAST_LEVEL
    assert torch.equal(twice.maps, once.maps) and torch.allclose(
        twice.gradient, once.gradient, rtol=1e-3, atol=1e-8
    )


def test_a_run_is_refined_and_leaves_the_weights_as_they_were(both):
    quantized, *_ = both
    before, plain = contents(quantized.model), quantized.sample()
    patched, book = quantized.tiny.attach(quantized.model, step=0, shifts=3)
    refined = quantized.sample(patched)
    (action,) = book.find(refined).recipes
    assert (
        action.updates == (3,) and action.losses[-1] != action.losses[0] and not torch.equal(refined, plain)
    )
    assert contents(quantized.model) == before and torch.equal(quantized.sample(), plain)


def test_a_words_weight_acts_as_on_the_numbers_that_the_weights_mean(both, pack_module):
    quantized, double, alike = both
    syntax, edits, patch = (
        pack_module(f"gsn_ops.{name}")
        for name in ("subjects.weights", "modulate.edits", "host.sampling.modulation")
    )

    def effect(made):
        weights = edits.WordWeights(weights=syntax.parse_weights("red cat: 3, dog: 0"))
        return made.sample(patch.attach_edits(made.model, weights)[0]) - made.sample()

    ours, right = effect(quantized), effect(double)
    assert F.cosine_similarity(ours.flatten(), right.flatten(), 0) > alike - 0.05


def test_what_lies_in_the_hosts_shared_cast_buffer_is_copied(both, pack_module, monkeypatch):
    quantized, *_ = both
    weight = next(
        p for p in quantized.model.model.diffusion_model.parameters() if type(p.data) is not torch.Tensor
    )
    gradients, buffers = (
        pack_module("gsn_ops.host.autograd.differentiable"),
        pack_module("gsn_ops.host.attention.memory_policy").management.STREAM_CAST_BUFFERS,
    )
    (where, *_) = gradients.storages(weight)
    assert gradients.storages(gradients.pack_saved(weight)[0])[0].data_ptr() == where.data_ptr()
    monkeypatch.setitem(buffers, "gsn test", weight._qdata)
    copy, _ = gradients.pack_saved(weight)
    assert gradients.storages(copy)[0].data_ptr() != where.data_ptr() and torch.equal(
        copy.dequantize(), weight.dequantize()
    )


def test_word_weights_act_on_quantized_layers(both, pack):
    """With the effect that they have on the numbers that the weights mean."""
    quantized, double, alike = both
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNWordWeight")
    effects = []
    for made in (quantized, double):
        with torch.inference_mode():
            model, book = node.EXECUTE_NORMALIZED(made.model, "red cat: 3, dog: 0.4").args
        effects.append((made.sample(model) - made.sample()).flatten())
        assert "did not act" not in book.last().recipes[0].status
    assert F.cosine_similarity(*effects, 0) > (0.999 if alike > 0.99 else 0.9)
