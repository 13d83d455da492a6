"""The language of ComfyUI's settings is that of errors and of lines on nodes."""

import json

import pytest
import torch

from ..support.demo_model import PROMPT

ZH_SKIPPED, ZH_STRENGTH = "\u5df2\u8df3\u8fc7\uff1a", "strength \u662f -1\uff1a"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A function: stores this as the person's settings."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    (tmp_path / "default").mkdir()

    def store(text) -> None:
        (tmp_path / "default" / "comfy.settings.json").write_text(text)

    return store


@pytest.fixture
def nursing(tiny, pack):
    node = next(node for node in pack.NODES if node.GET_SCHEMA().node_id == "GSNNursing")

    def run(**inputs):
        with torch.inference_mode():
            return node.EXECUTE_NORMALIZED(tiny.model, **inputs).args

    return run


def test_m12_an_error_of_a_node_is_in_the_language_of_the_settings(nursing, settings):
    settings(json.dumps({"Comfy.Locale": "zh"}))
    with pytest.raises(ValueError, match=ZH_STRENGTH):
        nursing(strength=-1)


@pytest.mark.parametrize(
    "stored", ("{}", '{"Comfy.Locale": "en"}', '{"Comfy.Locale": "eo"}', "no json", "[]")
)
def test_without_a_language_that_the_pack_has_it_is_english(nursing, settings, stored):
    settings(stored)
    with pytest.raises(ValueError, match="strength is -1: choose 0"):
        nursing(strength=-1)


def test_m12_an_error_in_the_sampler_is_translated_too(tiny, nursing, settings):
    model = nursing(subjects="elephant")[0]
    settings('{"Comfy.Locale": "fr"}')
    with pytest.raises(ValueError, match="n'est pas dans le prompt"):
        tiny.sample(model)


def test_m12_the_line_on_the_node_is_translated(tiny, settings, monkeypatch):
    sent = []

    class Server:
        @staticmethod
        def send_progress_text(text, node):
            sent.append((node, text))

    status = tiny.module("gsn_ops.host.node_status")
    monkeypatch.setattr(status.PromptServer, "instance", Server, raising=False)
    settings('{"Comfy.Locale": "zh"}')
    model, _ = tiny.attach(step=999, on_status=status.status_line("7"))
    tiny.sample(model, positive=tiny.encode(PROMPT))
    assert {node for node, _ in sent} == {"7"}
    assert all(text.startswith(ZH_SKIPPED) and "at_step" in text for _, text in sent), sent


def test_m12_a_picture_has_the_accents_of_french_with_what_every_comfyui_has(
    tiny, pack, settings, monkeypatch
):
    """Pillow's own font has none. The front end's has; the system's are not looked at here."""
    canvas = tiny.module("gsn_ops.report.drawing.canvas")
    settings('{"Comfy.Locale": "fr"}')
    own = [name for name in canvas.SYSTEM_FONTS if name.endswith("inter-latin-normal.woff2")]
    monkeypatch.setattr(canvas, "SYSTEM_FONTS", own)
    canvas._name_of_font.cache_clear()
    drawn = []
    text = canvas.Canvas.text
    monkeypatch.setattr(
        canvas.Canvas,
        "text",
        lambda self, x, y, words, *a, **k: drawn.append(words) or text(self, x, y, words, *a, **k),
    )
    node = next(node for node in pack.NODES if node.GET_SCHEMA().node_id == "GSNAttentionMaps")
    monkeypatch.setattr(tiny.module("nodes.inspect"), "preview", lambda *given: {})
    node.EXECUTE_NORMALIZED({"samples": torch.zeros(1, 4, 8, 8)})
    canvas._name_of_font.cache_clear()
    assert drawn[0] == "Cartes d'attention" and "connect\u00e9" in " ".join(drawn)
    assert all(canvas.font_for(words, 16)[1] == words for words in drawn) and own


def test_m12_in_another_language_the_report_and_the_maps_are_made_anew(pack, settings):
    """ComfyUI takes from its cache what has the same fingerprint; what computes stays there."""
    by_id = {node.GET_SCHEMA().node_id: node for node in pack.NODES}
    stamps = {}
    for chosen in ("en", "fr", "zh"):
        settings(json.dumps({"Comfy.Locale": chosen}))
        for name in ("GSNReport", "GSNAttentionMaps", "GSNNursing", "GSNSeedPicker"):
            stamps.setdefault(name, set()).add(by_id[name].fingerprint_inputs(at_percent=0.3))
    assert {name: len(found) for name, found in stamps.items()} == {
        "GSNReport": 3,
        "GSNAttentionMaps": 3,
        "GSNNursing": 1,
        "GSNSeedPicker": 1,
    }
