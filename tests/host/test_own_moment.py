"""The step that a study chose for this model: real runs take it, say where it came from, or do without."""

from types import SimpleNamespace

import pytest
import torch

from ..support.demo_model import PROMPT

METHOD, PERCENT = "Latent Refine (Grimal et al. 2025)", 0.6
FROM_FILE = "own step 60 %, from moments.json"


@pytest.fixture
def own(tiny, pack, monkeypatch, tmp_path):
    """Runs of Semantic Nursing with a user folder of their own."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    moments, module = tiny.module("gsn_ops.chosen_moments"), tiny.module("gsn_ops.host.own_moment")
    node = next(node for node in pack.NODES if node.GET_SCHEMA().node_id == "GSNNursing")
    lines = []
    monkeypatch.setattr(tiny.module("nodes.nursing"), "status_reporter", lambda node: lines.append)

    def write(percent=PERCENT, method=METHOD, key=None, text=None, reads="") -> None:
        file = module.moments_file()
        file.parent.mkdir(exist_ok=True)
        chosen = moments.ChosenMoment(percent, images=600, date="2026-11-26", reads=reads)
        key = key or module.weights_key(tiny.model)
        file.write_text(moments.with_moment("", key, method, chosen) if text is None else text)

    def run(method=METHOD, overrides="shifts=1", **settings):
        with torch.inference_mode():
            model, _, book = node.EXECUTE_NORMALIZED(
                tiny.model, method=method, overrides=overrides, report_level="numbers only", **settings
            ).args
        latents = tiny.sample(model, positive=tiny.encode(PROMPT))
        return SimpleNamespace(latents=latents, report=book.find(latents), line=lines[-1])

    return SimpleNamespace(write=write, run=run, file=module.moments_file, node=node)


def test_the_step_of_the_file_is_taken_and_said(own):
    plain = own.run()
    own.write()
    found, typed = own.run(), own.run(at_percent=PERCENT)
    assert found.report.recipes[0].step == typed.report.recipes[0].step != plain.report.recipes[0].step
    assert torch.equal(found.latents, typed.latents) and not torch.equal(found.latents, plain.latents)
    assert f"Note: {FROM_FILE}" in found.line and "moments.json" not in plain.line + typed.line
    (warning,) = found.report.warnings
    assert "user/gsn/moments.json: chosen for this model on 600 images (2026-11-26)" in warning


def test_what_a_study_keeps_is_what_the_next_run_takes(own, tiny):
    from tools.study.choose_step import ChosenMoment, keep

    typed = own.run(at_percent=PERCENT)
    said = keep(own.file(), typed.report.weights, METHOD, ChosenMoment(PERCENT, images=100))
    assert str(own.file()) in said
    assert torch.equal(own.run().latents, typed.latents)


def test_the_report_has_what_a_study_needs(own, tiny):
    report = own.run(at_percent=PERCENT).report
    assert report.weights == tiny.module("gsn_ops.host.own_moment").weights_key(tiny.model)
    assert report.recipes[0].percent == pytest.approx(PERCENT, abs=0.15)
    again = own.run(at_percent=report.recipes[0].percent).report
    assert again.recipes[0].step == report.recipes[0].step


def test_what_was_read_for_the_choice_is_read_and_said(own):
    typed = own.run(at_percent=PERCENT, overrides="shifts=1, levels=2")
    own.write(reads="levels=2")
    found = own.run()
    assert torch.equal(found.latents, typed.latents)
    assert "(2026-11-26); it reads levels=2" in found.report.warnings[0]
    other = own.run(at_percent=PERCENT, overrides="shifts=1, levels=4")
    assert torch.equal(own.run(overrides="shifts=1, levels=4").latents, other.latents), "typed settings win"


def test_a_file_saved_by_an_editor_with_a_mark_in_front_is_read(own):
    own.write()
    own.file().write_bytes(b"\xef\xbb\xbf" + own.file().read_bytes())
    assert own.run().report.warnings[0].startswith("own step: ")


def test_other_settings_are_not_taken_from_the_file(own):
    own.write(reads="shifts=3")
    with pytest.raises(ValueError, match=r"reads in moments.json, character 1: there is no setting 'shifts'"):
        own.run()


@pytest.mark.parametrize("typed", ({"at_step": 1}, {"at_sigma": 5.0}, {"at_percent": 0.18}))
def test_what_is_typed_on_the_node_wins(own, typed):
    before = own.run(**typed)
    own.write()
    after = own.run(**typed)
    assert torch.equal(before.latents, after.latents) and before.line == after.line


@pytest.mark.parametrize(
    "other",
    ({"key": "0123456789abcdef"}, {"method": "SAGA (2026)"}, {"method": "Latent Refine (fast)"}),
)
def test_a_step_of_another_model_or_method_changes_no_bit_and_no_word(own, other):
    before = own.run()
    own.write(**other)
    after = own.run()
    assert torch.equal(before.latents, after.latents) and before.line == after.line


@pytest.mark.parametrize(
    "text, why",
    (
        ("{", "it is not JSON"),
        ("[]", "no file of steps"),
        ('{"gsn_moments": 7, "models": {}}', "version 7, this pack reads version 1"),
        ('{"gsn_moments": 1, "models": {"abc": {"A": {"at_percent": 3}}}}', "not a share of the run"),
    ),
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_no_bit(own, text, why):
    before = own.run()
    own.write(text=text)
    after = own.run()
    assert torch.equal(before.latents, after.latents)
    assert "Note: moments.json is not used" in after.line
    assert why in after.report.warnings[0]


def test_a_file_that_cannot_be_read_is_one_sentence_and_no_bit(own):
    before = own.run()
    own.file().mkdir(parents=True)  # a folder in its place: not readable for anybody
    after = own.run()
    assert torch.equal(before.latents, after.latents) and "moments.json is not used" in after.line
    own.file().rmdir()
    own.file().write_bytes(b"\xff\xfe\x00")
    assert "it cannot be read (UnicodeDecodeError)" in own.run().report.warnings[0]


def test_a_method_without_a_single_step_does_not_look(own, tiny):
    own.write(text="{")
    with torch.inference_mode():
        model = own.node.EXECUTE_NORMALIZED(tiny.model, method="Divide & Bind (Li et al. 2023)").args[0]
    (wrapper,) = model.get_wrappers("outer_sample", "gsn")
    assert wrapper.attached[0].notes == ()


def test_the_node_runs_again_when_the_file_changes(own):
    stamp = own.node.fingerprint_inputs
    nothing = stamp(model=None)
    own.write()
    first = stamp(model=None)
    own.write(percent=0.3333)
    assert nothing == "" and first and stamp(model=None) != first
    assert stamp(at_step=3) == stamp(at_sigma=2.0) == stamp(at_percent=0.5) == ""


def test_the_key_is_of_the_weights_without_loras(tiny):
    key = tiny.module("gsn_ops.host.own_moment").weights_key
    own_key = key(tiny.model)
    assert key(tiny.load()[0]) == own_key and len(own_key) == 16
    patched = tiny.load()[0]
    name = next(n for n, p in patched.model.diffusion_model.named_parameters() if p.ndim > 1)
    weight = dict(patched.model.diffusion_model.named_parameters())[name]
    patched.add_patches({f"diffusion_model.{name}": ("diff", (torch.ones_like(weight),))})
    assert key(patched) == own_key
    patched.patch_model()
    assert key(patched) == own_key, "while it is patched in"
    patched.unpatch_model()
    with torch.inference_mode():
        for parameter in patched.model.diffusion_model.parameters():
            parameter.mul_(1.01)
    assert key(patched) != own_key


def test_the_key_does_not_depend_on_how_the_weights_are_held(tiny):
    module = tiny.module("gsn_ops.host.own_moment")
    torch.manual_seed(0)
    file = torch.randn(40, 30).half()
    assert module._sample(file) == module._sample(file.float()) == module._sample(file.float().half())
    assert module._sample(file) != module._sample(file.T.contiguous())

    class NoNumbers:
        ndim = 2

        def detach(self):
            raise NotImplementedError

    assert module._sample(NoNumbers()) == b""
