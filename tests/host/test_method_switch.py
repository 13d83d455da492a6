"""M1: in every template with a demo model, every method begins its run: no error but that a layout method
asks for a region.
"""

import json
from pathlib import Path

import pytest
import torch

from ..support.demo_model import interrupted

API = Path(__file__).resolve().parents[2] / "example_workflows" / "api"
NURSING, SAMPLER, MODEL = "GSNNursing", "KSampler", "GSNDemoModel"
MMDIT, TURBO = "SD3 layout (MM-DiT)", "SD3 layout, turbo (4 or 8 steps, CFG 1)"


def nursed(name: str) -> bool:
    """Whether a template has a demo model and Semantic Nursing."""
    text = (API / name).read_text("utf-8")
    return f'"{NURSING}"' in text and f'"{MODEL}"' in text


TEMPLATES = sorted(path.name for path in API.glob("*.json") if nursed(path.name))
HAS_REGIONS = ("11 ", "12 ", "13 ")
CASES = [
    *((name, {}) for name in TEMPLATES),
    *((TEMPLATES[0], {"model": layout}) for layout in (MMDIT, TURBO)),
    *((TEMPLATES[0], {"text": text}) for text in ("a photo of a star", "a red circle")),
]  # (template, what is another value in it)
ASKS = "Add a Subject Region"


class Graph:
    """A template, of which nodes are run when their outputs are asked for; samplers hand their latent on."""

    def __init__(self, host, pack, name: str, changed: dict):
        self.prompt = json.loads((API / name).read_text("utf-8"))
        from comfy_extras.nodes_bounding_boxes import CreateBoundingBoxes
        from comfy_extras.nodes_primitive import Int

        nodes = (*pack.NODES, CreateBoundingBoxes, Int)
        self.with_schema = {node.GET_SCHEMA().node_id: node for node in nodes}
        self.host, self.made = host, {}
        for inputs in (node["inputs"] for node in self.prompt.values()):
            inputs |= {k: v for k, v in changed.items() if isinstance(inputs.get(k), str) and inputs[k]}

    def of(self, kind: str) -> list[str]:
        return [i for i, node in self.prompt.items() if node["class_type"] == kind]

    def inputs(self, i: str, **changed) -> dict:
        """What a node gets, links followed."""
        given = {k: v for k, v in self.prompt[i]["inputs"].items() if k not in changed}
        wrapped = {k: v["__value__"] if isinstance(v, dict) else v for k, v in given.items()}
        links = {k: v for k, v in given.items() if isinstance(v, list)}
        return {**wrapped, **{k: self.output(*link) for k, link in links.items()}, **changed}

    def output(self, i: str, slot: int):
        if i not in self.made:
            kind = self.prompt[i]["class_type"]
            if kind == SAMPLER:
                self.made[i] = (self.output(*self.prompt[i]["inputs"]["latent_image"]),)
            else:
                self.made[i] = self.run(kind, **self.inputs(i))
        return self.made[i][slot]

    def run(self, kind: str, **inputs) -> tuple:
        with torch.inference_mode():
            if kind in self.with_schema:
                return self.with_schema[kind].EXECUTE_NORMALIZED(**inputs).args
            node = self.host.NODE_CLASS_MAPPINGS[kind]
            return getattr(node(), node.FUNCTION)(**inputs)


def begun(graph: Graph, method: str) -> str:
    """The error of a run with another method, "" if its first pass came."""
    from comfy.model_management import InterruptProcessingException

    for i in graph.of(NURSING):
        for sampler in graph.of(SAMPLER):
            if graph.prompt[sampler]["inputs"]["model"] != [i, 0]:
                continue
            model = interrupted(graph.output(*graph.prompt[i]["inputs"]["model"]))
            try:
                patched = graph.run(NURSING, **graph.inputs(i, method=method, model=model))[0]
                graph.run(SAMPLER, **graph.inputs(sampler, model=patched))
            except InterruptProcessingException:
                continue
            except ValueError as error:
                return str(error)
            raise AssertionError("the run made no pass")
    return ""


@pytest.mark.parametrize(("name", "changed"), CASES, ids=lambda case: f"{case}"[:22])
def test_m1_every_method_begins_in_every_template(host, pack, pack_module, name, changed):
    graph = Graph(host, pack, name, changed)
    methods = pack_module("gsn_ops.optimise.methods").methods()
    errors = {method: error for method in methods if (error := begun(graph, method))}
    assert len(methods) > 30 and all(ASKS in error for error in errors.values()), errors
    assert len(errors) == (0 if name.startswith(HAS_REGIONS) else 6)
