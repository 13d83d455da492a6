"""What must be the same before and after a run: everything a MODEL refers to."""

import gc

import torch

STEP, SHIFTS = 1, 3


def contents(value, depth=0):
    """What a thing is made of, down to identities of what can be shared: equal before and after if nothing
    was exchanged or added.
    """
    if isinstance(value, (str, int, float, bool, type(None), torch.dtype, torch.device)):
        return value
    if isinstance(value, dict) and depth < 8:
        return [(k, contents(v, depth + 1)) for k, v in value.items()]
    if isinstance(value, (list, tuple, set)) and depth < 8:
        return [contents(v, depth + 1) for v in value]
    return id(value)


def state_of(model) -> dict:
    """Everything that a run could leave changed: the MODEL, its network, and ComfyUI's and torch's global
    state.
    """
    import comfy.ldm.modules.attention as attention
    import comfy.model_management as management
    import comfy.samplers
    import comfy.supported_models

    network, loaded = model.model, [m.model.model for m in management.current_loaded_models]
    return {
        "model options": contents(model.model_options),
        "wrappers": contents(model.wrappers),
        "callbacks": contents(model.callbacks),
        "attachments": contents(model.attachments),
        "patches": contents(model.patches),
        "object patches": contents(model.object_patches),
        "hooks": (model.current_hooks, contents(model.hook_patches), contents(model.hook_backup)),
        "modules": {name: contents(module.__dict__) for name, module in network.named_modules()},
        "parameters": {
            name: (id(p), p.data_ptr(), p.requires_grad, p.is_inference(), p.grad)
            for name, p in network.named_parameters()
        },
        "buffers": {name: (id(b), b.data_ptr(), b.is_inference()) for name, b in network.named_buffers()},
        "values": {name: float(p.double().sum()) for name, p in network.named_parameters()},
        "training": management.in_training,
        "interrupt": management.interrupt_processing,
        "model classes": list(comfy.supported_models.models),
        "loaded": {id(other) for other in loaded if is_alike(other, network)},
        "cast buffers": contents(management.STREAM_CAST_BUFFERS),
        "attention": {name: id(f) for name, f in vars(attention).items() if callable(f)},
        "attention registry": contents(attention.REGISTERED_ATTENTION_FUNCTIONS),
        "samplers": {name: id(f) for name, f in vars(comfy.samplers).items() if callable(f)},
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def is_alike(model, network) -> bool:
    """Is it this network or a copy? Others are from earlier tests, and may be collected at any moment."""
    return type(getattr(model, "model_config", None)) is type(network.model_config)


def difference(before: dict, after: dict) -> dict:
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def tensors_with_a_graph() -> int:
    """How many there are in this process; what waits for a garbage collection counts too."""
    everything = gc.get_objects()
    kinds = {kind for kind in set(map(type, everything)) if torch.Tensor in kind.__mro__}
    return sum(o.grad_fn is not None for o in everything if type(o) in kinds)
