"""Tiny networks of every architecture in a sampler call: made, run, read, and what a pass leaves behind."""

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .architectures import ARCHITECTURES, Architecture
from .probe_oracle import weighted

TEXT = "a red cat and a blue dog"  # a word a row, from row 1 on


KEEPS_INPUTS = ("CosmosT2IPredict2", "Anima")
"""ComfyUI's networks that keep what they were given, from their first pass on."""

CELLS = torch.tensor([0, 8, 14])  # of which rows of self-attention are looked at


@dataclass
class Made:
    """One architecture: its model as a loader node hands it on, and what is needed to run it."""

    arch: Architecture
    model: object
    tiny: object

    def memory(self):
        """What a text node of this architecture would remember."""
        prompt = self.tiny.module("gsn_ops.prompt")
        pieces, at = [], 0
        for row, word in enumerate(TEXT.split(), 1):
            pieces.append(prompt.Piece(word, at, at + len(word), row))
            at += len(word) + 1
        encoder = prompt.EncoderTokens(
            "text", TEXT, tuple(pieces), ((1, len(pieces) + 1, self.arch.rows),), self.arch.tensor
        )
        return prompt.PromptTokens((encoder,), self.arch.rows)

    def prompts(self, louder: int | None, also: dict) -> tuple[list, list]:
        """CONDITIONINGs, positive and negative, as text nodes make them."""
        rows, more = self.arch.conditioning(louder)
        return [[rows, {**more, **also, "gsn": self.memory()}]], [[rows, more]]

    def sample(self, model=None, sampler=None, batch=1, louder=None, steps=1, cfg=1.0, **also) -> Tensor:
        """A run of ComfyUI's sampler from the architecture's noise level down. `also` goes into the
        conditioning.
        """
        import comfy.sample
        import comfy.samplers

        with torch.inference_mode():
            positive, negative = self.prompts(louder, also)
            latent = self.arch.latent(batch)
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
            sigmas = torch.linspace(self.arch.sigma, 0, steps + 1)
            sampler = sampler or comfy.samplers.sampler_object("euler")
            return comfy.sample.sample_custom(
                model or self.model,
                noise,
                cfg,
                sampler,
                sigmas,
                positive,
                negative,
                latent,
                disable_pbar=True,
                seed=3,
            )

    def load(self) -> None:
        """As a run does, which leaves ComfyUI's own marks on its modules; the network is not called."""
        model = self.model.clone()
        model.set_model_unet_function_wrapper(lambda apply, args: torch.zeros_like(args["input"]))
        self.sample(model)

    def at_state(self, look, needs=None, **run):
        """What `look(probe, z, conds)` makes of the state of the first step of a run."""
        import comfy.samplers

        gradients, plan, probes, states, maps, families = (
            self.tiny.module(f"gsn_ops.{name}")
            for name in (
                "host.autograd.differentiable",
                "host.sampling.plan",
                "host.attention.probe",
                "host.attention.sampler_state",
                "maps",
                "host.find_family",
            )
        )
        results = []

        def shift(k, model_k, x, sigma, extra):
            guider = model_k.inner_model
            (entry,), _ = plan.positive_entries(guider)
            c = plan.network_scale(guider.inner_model.model_sampling, sigma, x.ndim)
            family = families.family_of(self.model)
            entry = replace(
                entry,
                tokens=self.tiny.module("gsn_ops.host.architectures.family").columns_of(
                    family, entry.tokens, guider.conds["positive"][0]
                ),
            )
            conds = {
                name: cond.process_cond(batch_size=len(x), area=None).cond
                for name, cond in guider.conds["positive"][0]["model_conds"].items()
            }
            with gradients.differentiable(guider.inner_model):
                state = states.SamplerState(guider, model_k, x, sigma, extra)
                probe = probes.Probe(state, entry, family, maps.MapNeeds(**needs or {}), c)
                conds = {
                    name: gradients.without_inference_flag(cond).clone() if isinstance(cond, Tensor) else cond
                    for name, cond in conds.items()
                }
                results.append(look(probe, x.clone() / c, conds))
            return x

        self.sample(sampler=self.tiny.watch(comfy.samplers.sampler_object("euler"), [0], shift), **run)
        (result,) = results
        return result


def loaded(arch: Architecture, tiny, dtype=torch.float32, computes_in=None) -> Made:
    import comfy.model_patcher

    cpu = torch.device("cpu")
    with torch.inference_mode():
        made = Made(
            arch,
            comfy.model_patcher.ModelPatcher(
                arch.build(dtype, computes_in), load_device=cpu, offload_device=cpu
            ),
            tiny,
        )
    made.load()
    if arch.config in KEEPS_INPUTS:
        made.sample()
    return made


@functools.cache
def make(name: str, tiny) -> Made:
    """One for all files: whoever changes a network itself asks `loaded` for one of its own."""
    return loaded(ARCHITECTURES[name], tiny)


@dataclass
class Pass:
    """maps [B, h, w, n], the gradient of a loss in which all of them count, single layers and heads, rows of
    self-attention.
    """

    maps: Tensor
    gradient: Tensor
    heads: list[Tensor]
    rows: Tensor | None


def one_pass(probe, z: Tensor) -> Pass:
    leaf = z.clone().requires_grad_(True)
    seen = probe.maps_of(leaf)
    ((level, maps),) = seen.cross.items()
    (gradient,) = torch.autograd.grad(weighted({1: maps}).sum(), leaf, retain_graph=True)
    rows = seen.self_rows[level](CELLS.expand(len(z), -1))
    return Pass(maps.detach(), gradient, [layer.detach() for layer in seen.heads[level]], rows.detach())


def contents(model) -> list[tuple]:
    """What hangs on every module of a network, by identity."""
    return [
        (sorted(vars(m)), [id(t) for t in (*m._parameters.values(), *m._buffers.values())], m.training)
        for m in model.model.modules()
    ]


def graphs_in(model) -> list[str]:
    """Attributes of a network's modules that hold a tensor with a graph, in lists and dictionaries too."""

    def graph(value) -> bool:
        if isinstance(value, (list, tuple, dict)):
            return any(graph(v) for v in (value.values() if isinstance(value, dict) else value))
        return isinstance(value, Tensor) and value.grad_fn is not None

    return [
        f"{path}.{name}"
        for path, m in model.model.named_modules()
        for name, value in vars(m).items()
        if name != "_modules" and graph(value)
    ]
