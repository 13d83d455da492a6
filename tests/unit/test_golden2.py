"""Reference values of what acts without gradients, of editing and of choosing steps: every case of
tests/data/golden2.json, or of the file named by GSN_GOLDEN2.

Such a file has the same cases with the same keys; numbers, shapes and lengths may be others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gsn_ops.editing.flow_edit import edit_step
from gsn_ops.editing.ode import EULER, FIREFLOW, MIDPOINT, eps_of_v, steps
from gsn_ops.editing.rf_inversion import to_image, to_noise
from gsn_ops.modulate.alternate_prompts import prompt_of_steps
from gsn_ops.modulate.co3 import concept_weights
from gsn_ops.modulate.comp_attn import inject_subjects
from gsn_ops.modulate.local_blend import blend_mask
from gsn_ops.modulate.normalized_attention import normalized_guidance
from gsn_ops.modulate.prompt_reinjection import procrustes, reinject, reinject_anchored, standardised
from gsn_ops.modulate.prompt_to_prompt import align, refined_maps, replacement
from gsn_ops.modulate.taca import gamma_at, scaled_keys
from gsn_ops.modulate.vsf import flipped_attention
from gsn_ops.modulate.word_weights import factors, weighted_output, weighted_probabilities
from gsn_ops.objectives.count_kl import cluster_centres, count_kl
from gsn_ops.objectives.relation import SIGNS, centre, relation_hinge
from gsn_ops.optimise.between_calls import handed_on, point_between
from gsn_ops.schedule import WINDOW_END, Moment, Schedule, flow_level, noise_to_image
from gsn_ops.start_scores import focus, passes_per_image, presence, right_when_picked
from gsn_ops.subject_maps import maxima, separation

from ..support.golden import WAITING, reference_values

GOLDEN = reference_values("golden2", "GSN_GOLDEN2")
RELATIVE, ABSOLUTE = 2e-5, 1e-6  # of numbers in float64
COARSER = {"best_of": 5e-5}
"""Relative, of a case whose reference is itself a coarse sum: steps of 1e-4, 3e-5 above the integral."""


def tensor(numbers) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def tensors(case: dict, *names: str) -> list[Tensor]:
    return [tensor(case[name]) for name in names]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Output and probabilities, written out."""
    e = torch.exp(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask)
    p = e / e.sum(-1, keepdim=True)
    return p @ v, p


def word_strength(case):
    pairs = [factors(w, case["kappa"], case["a_max"]) for w in case["w"]]
    return {"a": [a for a, _ in pairs], "g": [g for _, g in pairs]}


def weighted(case):
    """Of the query rows `rows` (all, where it is not given)."""
    q, k, v, a, g = tensors(case, "q", "k", "v", "a", "g")
    out, p = attention(q, k, v, tensor(case.get("key_mask", 0.0)))
    rows = slice(*case.get("rows", (None,)))
    columns = case["columns"]
    p = p[:, rows][..., columns]
    out[:, rows] = weighted_output(out[:, rows], v[:, columns], p, a, g)
    return {"out": out, "p_mean_over_heads": weighted_probabilities(p, a).mean(0)}


def temperature_joint(case):
    q, k, v = tensors(case, "q", "k", "v")
    rows, columns = slice(*case["rows"]), case["columns"]
    out, _ = attention(q, k, v)
    out[:, rows], _ = attention(q[:, rows], scaled_keys(k, columns, case["gamma"]), v)
    return {"out": out}


def taca_gamma(case):
    return {"gamma": [gamma_at(sigma, case["gamma"], case["threshold"]) for sigma in case["sigma"]]}


def reinjected(case):
    target, origin, rotation = tensors(case, "target", "origin", "rotation")
    return {
        "base": reinject(target, origin, case["w"]),
        "anchored": reinject_anchored(target, origin, case["w"]),
        "aligned": reinject_anchored(target, origin, case["w"], rotation),
    }


def rotated(case):
    origin, target = tensors(case, "origin", "target")
    rotation = procrustes(origin, target, case["centre"])
    return {
        "standardised_origin_rotated": standardised(origin) @ rotation,
        "det_abs": torch.linalg.det(rotation).abs(),
    }


def sci(case):
    tokens, anchors = tensors(case, "tokens", "anchors")
    moved, saliency = inject_subjects(tokens, case["groups"], anchors, case["omega"], case["tau"])
    return {"tokens": moved, "saliency": saliency}


def co3_weights(case):
    return {"w": concept_weights(tensor(case["distances"]), case["beta"])}


def r2f_prompts(case):
    return {"prompt": prompt_of_steps(case["steps"], case["levels"], case["table"], case["alternate"])}


def vsf_cross(case):
    given = tensors(case, "q", "k", "v", "k_neg", "v_neg")
    return {"out": flipped_attention(*given, case["alpha"], case["beta"])}


def nag(case):
    positive, negative = tensors(case, "positive", "negative")
    return {"out": normalized_guidance(positive, negative, case["scale"], case["tau"], case["alpha"])}


def p2p_refine(case):
    found = align(case["source"], case["target"])
    return {"source_of_target": found, "map": refined_maps(*tensors(case, "a_source", "a_target"), found)}


def p2p_replace(case):
    given = (case["pieces_source"], case["pieces_target"], case["changed"], case["n"])
    return {"clean": replacement(*given), "published": replacement(*given, published=True)}


def p2p_local_blend(case):
    source, target = tensors(case, "source", "target")
    return {"mask": blend_mask(source, target, tuple(source.shape), case["threshold"])}


def counted(case):
    m = tensor(case["map"])[None].requires_grad_(True)  # [1, h, w]
    radius = case["spread"] * max(m.shape[-2:])
    centres = cluster_centres(m, case["k"], case["share"])
    loss = count_kl(m, centres, radius)
    (gradient,) = torch.autograd.grad(loss.sum(), m)
    return {"centres": centres[0], "loss": loss[0].detach(), "grad_l2": gradient.norm()}


def related(case):
    a, b = (m[None].requires_grad_(True) for m in tensors(case, "a", "b"))
    loss = relation_hinge(a, b, case["relation"], case["margin"], case["power"])
    gradients = torch.autograd.grad(loss.sum(), (a, b))
    axis = SIGNS[case["relation"]][0]
    return {
        "centres": torch.cat([centre(m, axis, case["power"]) for m in (a, b)]).detach(),
        "loss": loss[0].detach(),
        "grad_l2": torch.stack(gradients).norm(),
    }


def field(numbers):
    """v(x, sigma) = A x + b sigma."""
    a, b = tensors(numbers, "A", "b")
    return lambda x, sigma: a @ x + b * sigma


def flow_edited(case):
    source, edited = tensors(case, "x_src", "z_edit")
    sigmas, fields = (case["sigma"], case["sigma_next"]), (field(case["v_src"]), field(case["v_tar"]))
    return {"z_edit": edit_step(source, edited, sigmas, list(tensor(case["noises"])), fields)}


def rf_forward(case):
    sigmas = case["sigma"], case["sigma_next"]
    return {"y": to_noise(*tensors(case, "y", "y1"), sigmas, field(case["u"]), case["gamma"])}


def rf_reverse(case):
    sigmas = case["sigma"], case["sigma_next"]
    return {"x": to_image(*tensors(case, "x", "y0"), sigmas, field(case["u"]), case["eta"])}


def solved(method):
    def run(case):
        *_, x = steps(field(case["u"]), tensor(case["x"]), case["sigmas"], method)
        return {"x": x}

    return run


def inverted_by_ddim(case):
    model = field(case["model"])

    def velocity(x, sigma):
        output = model(x / (1 + sigma**2) ** 0.5, sigma)
        return output if case["kind"] == "eps" else eps_of_v(x, output, sigma)

    *_, x = steps(velocity, tensor(case["x"]), case["sigmas"], EULER)
    return {"x": x}


def seed_score(case):
    maps = tensor(case["maps"])
    overlap = float(separation(maps[None]))
    peaks = maxima(maps[None])[0].tolist()
    return {
        "presence": presence(peaks),
        "overlap": overlap,
        "focus": focus(maps),
        "score": presence(peaks, overlap, case["overlap_weight"]),
    }


def best_of(case):
    return {"right": [right_when_picked(*numbers) for numbers in case["n_p_auc"]]}


def triage_cost(case):
    return {"passes": [passes_per_image(*numbers) for numbers in case["n_m_k_steps_passes_look"]]}


def flow_moment(case):
    return {"sigma": [flow_level(ratio, shift) for ratio, shift in case["ve_sigma_and_shift"]]}


def moments(case):
    """Of a flow model whose schedule is even but for its shift."""
    n, shift = case["steps"], case["shift"]

    def level(percent):
        return flow_level((1 - percent) / percent if percent else math.inf, shift)

    schedule = Schedule(tuple(level(k / n) for k in range(n + 1)), level, flow=True)
    ratios = [noise_to_image(s, schedule.shift) for s in schedule.sigmas[:-1]]
    nearest = schedule.find(Moment(sigma=flow_level(case["target"], schedule.shift))).step
    factor = math.exp(abs(math.log(ratios[nearest] / case["target"])))
    inside = [i for i, ratio in enumerate(ratios) if ratio >= case["lowest"]]
    if case["lowest"] == WINDOW_END:
        assert list(schedule.published_window()) == inside
    return {"sigmas": list(schedule.sigmas), "inside": inside, "nearest": nearest, "factor": factor}


def between(case):
    x, denoised, delta = tensors(case, "x", "denoised", "delta")
    x_mid, x_next = (
        point_between(x, denoised, case["sigma"], case[level]) for level in ("sigma_mid", "sigma_next")
    )
    return {"x_mid": x_mid, "x_next": handed_on(x_next, delta, case["rho"])}


FUNCTIONS = {
    "word_strength": word_strength,
    "weighted_cross": weighted,
    "weighted_joint_image_rows": weighted,
    "temperature_joint": temperature_joint,
    "taca_gamma": taca_gamma,
    "reinject": reinjected,
    "procrustes": rotated,
    "sci": sci,
    "co3_weights": co3_weights,
    "r2f_prompts": r2f_prompts,
    "count_kl": counted,
    "relation_left": related,
    "relation_below": related,
    "vsf_cross": vsf_cross,
    "nag": nag,
    "p2p_refine": p2p_refine,
    "p2p_replace": p2p_replace,
    "p2p_local_blend": p2p_local_blend,
    "flowedit_step": flow_edited,
    "rf_inversion_forward": rf_forward,
    "rf_inversion_reverse": rf_reverse,
    "rf_solver": solved(MIDPOINT),
    "fireflow": solved(FIREFLOW),
    "ddim_inversion_eps": inverted_by_ddim,
    "ddim_inversion_v": inverted_by_ddim,
    "seed_score": seed_score,
    "best_of": best_of,
    "triage_cost": triage_cost,
    "flow_moment": flow_moment,
    "moments": moments,
    "between": between,
}


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        WAITING["golden2"] = [c["id"] for c in GOLDEN["cases"] if c["id"] not in FUNCTIONS]
        ready = [c for c in GOLDEN["cases"] if c["id"] in FUNCTIONS]
        metafunc.parametrize("case", ready, ids=[c["id"] for c in ready])


def test_case(case):
    found = FUNCTIONS[case["id"]](case["inputs"])
    assert set(found) == set(case["expected"])
    for key, expected in case["expected"].items():
        ours, theirs = torch.as_tensor(found[key]).double(), tensor(expected)
        assert ours.shape == theirs.shape, key
        assert torch.allclose(ours, theirs, rtol=COARSER.get(case["id"], RELATIVE), atol=ABSOLUTE), key
