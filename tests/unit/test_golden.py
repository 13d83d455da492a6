"""The published losses and constants, by number: every case of tests/data/golden.json, or of the file named
by GSN_GOLDEN.

Such a file has the same input names; its formulas, columns, cases and constants may be others.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest
import torch

from gsn_ops.maps import AttentionMaps, StepContext
from gsn_ops.objectives._foreground import otsu_mask
from gsn_ops.objectives.base import REGISTRY
from gsn_ops.optimise.refine import refine
from gsn_ops.prompt import Span, SubjectColumns, SubjectPhrase
from gsn_ops.regions import box_mask
from gsn_ops.schedule import step_size, to_x, to_z
from gsn_ops.subject_maps import kernel_1d, smooth

from ..support.golden import WAITING, reference_values

HERE = Path(__file__).parent
GOLDEN = reference_values("golden", "GSN_GOLDEN")

_spec = importlib.util.spec_from_file_location("gsn_golden_cases", HERE / "golden_cases.py")
cases = importlib.util.module_from_spec(_spec)
sys.modules["gsn_golden_cases"] = cases  # dataclasses look their module up
_spec.loader.exec_module(cases)
formulas = cases.formulas


def waits(case: dict) -> bool:
    return case["objective"] not in REGISTRY


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        WAITING["golden"] = [f"{c['id']} ({c['objective']})" for c in GOLDEN["cases"] if waits(c)]
        WAITING["golden"] += [c["id"] for c in GOLDEN["constants"] if c["id"] not in CONSTANTS]
        ready = [c for c in GOLDEN["cases"] if not waits(c)]
        metafunc.parametrize("case", ready, ids=[c["id"] for c in ready])
    if "constant" in metafunc.fixturenames:
        known = [c for c in GOLDEN["constants"] if c["id"] in CONSTANTS]
        metafunc.parametrize("constant", known, ids=[c["id"] for c in known])


def test_case(case):
    cls = REGISTRY[case["objective"]]
    built = cases.build(GOLDEN["inputs"], case, cls)
    objective = cases.objective_of(case, cls, *built.maps.cross[cases.LEVEL].shape[1:3])

    loss = objective(built.maps, built.subjects, built.context)

    assert loss.shape == (1,)
    assert abs(loss.item() - case["loss"]) <= case["tol"]["loss_abs"]
    gradients = dict(
        zip(built.leaves, torch.autograd.grad(loss.sum(), list(built.leaves.values())), strict=True)
    )
    expected = (
        case["grad"]
        if isinstance(case["grad"], list)
        else [{**case["grad"], "wrt": next(iter(built.leaves))}]
    )
    assert {e["wrt"] for e in expected} == set(gradients)
    for e in expected:
        assert gradients[e["wrt"]].norm().item() == pytest.approx(e["l2"], rel=case["tol"]["grad_rel"], abs=0)


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, f"'{text}' does not say {pattern}"
    return [float(n) for n in found.groups()]


def kernel_legacy_3(c):
    size, sigma = numbers(r"size (\d+), sigma ([\d.]+)", c["what"])
    point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    point[0, 0, 4, 4] = 1
    kernel = smooth(point, int(size), sigma)[0, 0]
    assert [kernel[4, 4], kernel[3, 4], kernel[4, 5], kernel[5, 5], kernel[3, 5]] == pytest.approx(
        [c["center"], c["edge"], c["edge"], c["corner"], c["corner"]], abs=c["abs_tol"]
    )


def kernel_true_3_axis(c):
    size, sigma = numbers(r"size (\d+), sigma ([\d.]+)", c["what"])
    assert kernel_1d(int(size), sigma, legacy=False).tolist() == pytest.approx(c["values"], abs=c["abs_tol"])


def step_size_sqrt(c):
    factor, start, end, n = numbers(r"([\d.]+)\*sqrt\(linspace\(([\d.]+), *([\d.]+), *(\d+)\)", c["what"])
    sizes = [step_size(i, int(n), factor, start, end, "sqrt") for i in c["i"]]
    assert sizes == pytest.approx(c["values"], abs=c["abs_tol"])


class ConstantGradient:
    """Loss with the gradient g for every element of z."""

    def __init__(self, g: float):
        self.g = g

    def __call__(self, maps, subjects, context):
        return self.g * maps.cross[2].sum((1, 2, 3))


def adam_shift(c):
    (n,) = numbers(r"after (\d+) Adam steps", c["what"])
    shifts = []
    for g in c["g"]:
        done = refine(
            torch.zeros(1, 3, 2, 2),
            lambda z: AttentionMaps({2: z.movedim(1, -1)}, (0, 1, 2), (Span("l", 0, 3),)),
            ConstantGradient(g),
            [SubjectColumns(SubjectPhrase("a", "a"), {"l": (1,)})],
            StepContext(0, 1, 1.0, 1.0),
            shifts=int(n),
            learning_rate=c["lr"],
            eps=c["eps"],
        )
        shifts.append(done.z.abs().max().item())
    assert shifts == pytest.approx(c["values"], abs=c["abs_tol"])


def sigma_ddim_uniform_50(c):
    (n,) = numbers(r"ddim_uniform, (\d+) steps", c["what"])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = (1 - betas).cumprod(0)
    sigmas = ((1 - kept) / kept).sqrt()[1 :: 1000 // int(n)].flip(0)
    assert [sigmas[i].item() for i in c["i"]] == pytest.approx(c["values"], abs=c["abs_tol"])


def z_update(c):
    scale = math.sqrt(1 + c["sigma"] ** 2)
    x = torch.tensor([0.0, 3.0, -70.0], dtype=torch.float64)
    moved = to_x(to_z(x, scale) - c["a"] * torch.ones(3), scale) - x
    assert moved.tolist() == pytest.approx([c["dx"]] * 3, rel=c["rel_tol"])


def box_cells_inclusive(c):
    w, h = numbers(r"(\d+)x(\d+) grid", c["what"])
    cells = [box_mask(box, int(h), int(w), "inclusive").sum().item() for box in c["boxes"]]
    assert cells == c["values"]


def mask_otsu_allones(c):
    assert c["expected"] == "all ones"
    assert otsu_mask(torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 0.99 / 255).all()


CONSTANTS = {
    f.__name__: f
    for f in (
        kernel_legacy_3,
        kernel_true_3_axis,
        step_size_sqrt,
        adam_shift,
        sigma_ddim_uniform_50,
        z_update,
        box_cells_inclusive,
        mask_otsu_allones,
    )
}


def test_constant(constant):
    CONSTANTS[constant["id"]](constant)


def test_formulas_are_only_arithmetic():
    x = torch.tensor([0.0, 3.0], dtype=torch.float64)
    assert formulas.evaluate("2*x**2 - (7 if x == 0 else x % 2) + -cos(0*x)", {"x": x}).tolist() == [
        -8.0,
        16.0,
    ]
    with pytest.raises((ValueError, KeyError)):
        formulas.evaluate("__import__('os').getcwd()", {"x": x})
