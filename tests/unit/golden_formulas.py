"""Rebuilds the inputs of a golden file from the formulas that it states."""

from __future__ import annotations

import ast
import operator
import re

import torch

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS = {name: getattr(torch, name) for name in ("sin", "cos", "exp", "sqrt", "abs", "tanh")}


def evaluate(formula: str, names: dict[str, torch.Tensor]) -> torch.Tensor:
    """Arithmetic over tensors: numbers, names, + - * / % **, comparisons, `a if c else b`, sin, cos and the like."""

    def walk(node):
        if isinstance(node, ast.Expression):
            return walk(node.body)
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return torch.tensor(float(node.value), dtype=torch.float64)
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp):
            return OPERATORS[type(node.op)](walk(node.operand))
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return OPERATORS[type(node.ops[0])](walk(node.left), walk(node.comparators[0]))
        if isinstance(node, ast.IfExp):
            return torch.where(walk(node.test), walk(node.body), walk(node.orelse))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return FUNCTIONS[node.func.id](*map(walk, node.args))
        raise ValueError(f"Not plain arithmetic: {ast.dump(node)} in {formula!r}")

    return walk(ast.parse(formula, mode="eval"))


def table(spec: dict, key: str) -> torch.Tensor:
    """The array [shape] of the formula spec[key] over the axes that the spec names, float64."""
    base = spec.get("index_base", 0)
    axes = torch.meshgrid(
        *[torch.arange(base, base + n, dtype=torch.float64) for n in spec["shape"]], indexing="ij"
    )
    return evaluate(spec[key], dict(zip(spec["axes"], axes, strict=True))).expand(spec["shape"]).clone()


def attention(inputs: dict, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(leaf, A) of an input: A [h, w, n] or [heads, h, w, n], differentiable in the leaf that the file names."""
    spec = inputs[name]
    if "from" in spec:  # logits16_heads: A and its mirror image
        leaf, a = attention(inputs, spec["from"])
        (axis,) = re.search(r"flip of A along (\w)", spec["A"]).groups()
        return leaf, torch.stack([a, a.flip("yx".index(axis))])
    if "logits" in spec:
        leaf = table(spec, "logits").requires_grad_(True)
        return leaf, leaf.softmax(-1).float()
    leaf = table(spec, "A").requires_grad_(True)
    return leaf, leaf


def self_attention(inputs: dict, name: str, height: int, width: int) -> torch.Tensor:
    """[cells, cells] of an input stated as "softmax over j of <formula of d2(i,j)> with d2 = squared distance ..."."""
    spec = inputs[name]
    (formula,) = re.search(r"softmax over j of (.+?) with d2 = squared distance", spec["A"]).groups()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([y.flatten(), x.flatten()], 1).double()  # [cells, 2]
    d2 = (cells[:, None] - cells).square().sum(-1)
    return evaluate(formula.replace("d2(i,j)", "d2"), {"d2": d2}).softmax(-1).float()
