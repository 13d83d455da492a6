"""A second node pack adds an objective and a method: one function in its __init__.py, whichever pack loads first."""
import textwrap

import pytest

from tools.host_env.client import Client, PromptFailed
from tools.host_env.server import running_server

PACK = '''
"""A pack that loads before ours and brings a loss of its own."""
from dataclasses import dataclass

NODE_CLASS_MAPPINGS = {}


def gsn_register(gsn):
    @gsn.objectives.register("brightest_corner")
    @dataclass(frozen=True)
    class BrightestCorner:
        """1 - attention of the first subject in the corner cell, times `factor`."""
        factor: float = 1.0
        maps: gsn.maps.MapOptions = gsn.maps.MapOptions()
        needs: gsn.maps.MapNeeds = gsn.maps.MapNeeds()

        def __call__(self, maps, subjects, context):
            return self.factor * (1 - gsn.maps.subject_maps(maps, subjects, self.maps)[:, 0, 0, 0])

    refine = gsn.optimise.recipes.Refine
    gsn.optimise.presets.register_method("Corner (test 2026)", lambda: (refine(objective=BrightestCorner(), shifts=2),))
'''


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    (folder / "nodes" / "a_first_pack").mkdir(parents=True)
    (folder / "nodes" / "a_first_pack" / "__init__.py").write_text(PACK)
    paths = folder / "paths.yaml"
    paths.write_text(textwrap.dedent(f"""
        test:
            custom_nodes: {folder / "nodes"}
        """))
    with running_server(cpu=True, arguments=["--extra-model-paths-config", str(paths)]) as server:
        yield Client(server.url)


def prompt(nursing: dict, objective: dict | None = None) -> dict:
    """A short run of the demo model with a report of what was done."""
    nodes = {
        "model": {"class_type": "GSNDemoModel", "inputs": {}},
        "nursing": {"class_type": "GSNNursing", "inputs": {"model": ["model", 0], "clip": ["model", 1], "at_step": 1, **nursing}},
        "positive": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["nursing", 1], "text": "a red circle and a blue square"}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}},
        "sampler": {"class_type": "KSampler", "inputs": {
            "model": ["nursing", 0], "seed": 5, "steps": 4, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0]}},
        "report": {"class_type": "GSNReport", "inputs": {"latent": ["sampler", 0], "report": ["nursing", 2], "label": ""}},
        "text": {"class_type": "PreviewAny", "inputs": {"source": ["report", 1]}},
    }
    if objective is not None:
        nodes["objective"] = {"class_type": "GSNObjective", "inputs": objective}
        nodes["nursing"]["inputs"].update(strength=0.0)
        nodes["refine"] = {"class_type": "GSNRefineModel", "inputs": {
            "model": ["nursing", 0], "objective": ["objective", 0], "shifts": 2, "at_step": 1}}
        nodes["sampler"]["inputs"]["model"], nodes["report"]["inputs"]["report"] = ["refine", 0], ["refine", 1]
    return nodes


def test_its_objective_and_method_are_offered(client):
    info = client.object_info()
    assert "brightest_corner" in str(info["GSNObjective"]["input"])
    assert "Corner (test 2026)" in str(info["GSNNursing"]["input"])


def test_its_method_runs(client):
    text = client.run(prompt({"method": "Corner (test 2026)"}))["outputs"]["text"]["text"][0]
    assert "Corner (test 2026): step 1 of 4" in text and "2 shifts" in text


def test_its_objective_runs_with_its_option(client):
    text = client.run(prompt({}, {"objective": "brightest_corner", "options": "factor=2"}))["outputs"]["text"]["text"][0]
    assert "2 shifts" in text
    with pytest.raises(PromptFailed, match="there is no setting 'factr'"):
        client.run(prompt({}, {"objective": "brightest_corner", "options": "factr=2"}))
