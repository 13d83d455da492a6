"""Methods without gradients in Semantic Nursing: Prompt Reinjection and TACA, against attention and features
written out; where they cannot act.
"""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from ..support.networks import contents, make
from ..support.softmax_oracle import written_out

REINJECTION, TACA = "Prompt Reinjection (2026)", "TACA (2025)"


@pytest.fixture(scope="module")
def nurse(pack):
    """A function: MODEL with a method, and the book."""
    node = next(n for n in pack.NODES if n.GET_SCHEMA().node_id == "GSNNursing")

    def run(model, method: str, **settings):
        with torch.inference_mode():
            patched, _, book = node.EXECUTE_NORMALIZED(model, method=method, **settings).args
        return patched, book

    return run


def relative(found, right, plain) -> float:
    """The error as a share of the effect."""
    return ((found - right).abs().max() / (right - plain).abs().max()).item()


@pytest.mark.parametrize("name", ("SD3", "Flux", "Z-Image", "Qwen-Image", "ERNIE", "HiDream"))
def test_taca_multiplies_the_images_scores_of_the_text(tiny, nurse, name):
    made = make(name, tiny)
    arch, (h, w) = made.arch, made.arch.grid
    model, book = nurse(made.model, TACA, overrides="threshold=0.5, gamma=3")
    attends = r"(double|single)_blocks\.\d+$" if name == "Flux" else arch.attends

    def scores(logits):
        if logits.shape[-1] != arch.keys:
            return logits
        rows = arch.keys - arch.text if name == "HiDream" else arch.rows
        logits = logits.clone()
        logits[:, :, arch.image : arch.image + h * w, arch.text : arch.text + rows] *= 3
        return logits

    plain, found = made.sample(), made.sample(model)
    with written_out(made.model.model.diffusion_model, attends) as seen:
        seen.scores = scores
        right = made.sample()
    assert relative(found, right, plain) < 0.05
    assert book.find(found).recipes[0].status.startswith(f"{TACA}: text scores times 3, steps 0 to 0")


def test_taca_acts_at_the_highest_noise_only(tiny, nurse):
    made = make("SD3", tiny)
    model, book = nurse(made.model, TACA)
    assert torch.equal(made.sample(model), made.sample())  # from sigma 0.7
    assert "did not act, no sampling step has so high a noise level" in book.last().recipes[0].status


@pytest.mark.parametrize(
    "method, reason", [(TACA, "text against the image"), (REINJECTION, "the same before every block")]
)
@pytest.mark.parametrize("name", ("SD1", "PixArt-sigma", "Cosmos-Predict2", "HunyuanDiT", "Kandinsky 5"))
def test_m1_with_cross_attention_it_is_a_plain_run_and_the_cure_is_said_first(
    tiny, nurse, name, method, reason
):
    made = make(name, tiny)
    model, book = nurse(made.model, method)
    found = made.sample(model)
    assert torch.equal(found, made.sample())
    told = book.find(found).recipes[0]
    assert "did not act, it " in told.status and reason in told.status and "cross-attention" in told.status
    assert told.line.startswith("Did not act: choose Word boost, or another method (")


STREAMS = {  # blocks in order; whether the text is apart: the argument, else the number of text tokens
    "SD3": ("joint_blocks", 0),
    "Flux": ("double_blocks single_blocks", "txt"),
    "AuraFlow": ("double_layers single_layers", 0),
    "Qwen-Image": ("transformer_blocks", "encoder_hidden_states"),
    "Z-Image": ("layers", 32),
    "Lumina 2": ("layers", 11),
    "Krea 2": ("blocks", 11),
    "HunyuanImage": ("double_blocks single_blocks", "txt"),
    "Chroma": ("double_blocks single_blocks", "txt"),
}


@pytest.mark.parametrize("form", ("anchored", "base"))
@pytest.mark.parametrize("name", STREAMS)
def test_reinjection_adds_an_early_blocks_text_to_later_ones(tiny, nurse, name, form):
    """Against the blocks' forward exchanged by hand."""
    made = make(name, tiny)
    before, plain = contents(made.model), made.sample(batch=2)
    model, book = nurse(made.model, REINJECTION, overrides=f"w=0.3, origin=0, form={form}")
    found = made.sample(model, batch=2)
    assert contents(made.model) == before and torch.equal(made.sample(batch=2), plain)
    with by_hand(made.model.model.diffusion_model, *STREAMS[name], form):
        right = made.sample(batch=2)
    assert relative(found, right, plain) < 0.02
    assert "did not act" not in book.find(found).recipes[0].status


@pytest.fixture
def matrices(tmp_path, monkeypatch):
    """A function: writes matrices as a file of models/gsn, and gives its name."""
    import folder_paths
    import safetensors.torch

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "gsn", ([str(tmp_path)], {".safetensors"}))

    def write(**tensors) -> str:
        safetensors.torch.save_file(tensors, tmp_path / "own.safetensors")
        return "w=0.3, origin=0, form=aligned, file=own.safetensors"

    return write


def test_the_aligned_form_rotates_what_it_adds(tiny, nurse, matrices):
    """The unit matrix is the anchored form; another one is not; a block without one is anchored."""
    made = make("SD3", tiny)
    width = made.model.model.diffusion_model.context_embedder.out_features
    anchored = made.sample(nurse(made.model, REINJECTION, overrides="w=0.3, origin=0")[0])
    blocks = range(1, len(made.model.model.diffusion_model.joint_blocks))
    unit = {str(n): torch.eye(width) for n in blocks}
    found = made.sample(nurse(made.model, REINJECTION, overrides=matrices(**unit))[0])
    assert relative(found, anchored, made.sample()) < 0.01
    turned = {str(n): torch.eye(width).roll(1, 0) for n in blocks}
    found = made.sample(nurse(made.model, REINJECTION, overrides=matrices(**turned))[0])
    assert relative(found, anchored, made.sample()) > 0.1
    none = made.sample(nurse(made.model, REINJECTION, overrides=matrices(**{"99": torch.eye(width)}))[0])
    assert torch.equal(none, anchored)


@pytest.mark.parametrize(
    ("tensors", "cause"),
    [
        ({"1": torch.eye(3)}, "The matrix of block 1 has 3 rows, and this model's text"),
        ({"1": torch.ones(2, 3)}, "it must be square"),
        ({"first": torch.eye(3)}, "cannot be read as matrices named by blocks"),
    ],
)
def test_a_file_of_another_kind_is_refused(tiny, nurse, matrices, tensors, cause):
    made = make("SD3", tiny)
    model, _ = nurse(made.model, REINJECTION, overrides=matrices(**tensors))
    with pytest.raises(ValueError, match=cause):
        made.sample(model)


def test_a_file_that_is_not_there_is_named(tiny, nurse, matrices):
    made = make("SD3", tiny)
    for name in ("none.safetensors", "../own.safetensors", "own.pt"):
        model, _ = nurse(made.model, REINJECTION, overrides=f"form=aligned, file={name}")
        with pytest.raises(ValueError, match="is not in models/gsn: put the matrices there"):
            made.sample(model)


@contextlib.contextmanager
def by_hand(network, lists: str, where, form: str):
    """Inside, the blocks' forward gets the changed text."""
    blocks = [block for name in lists.split() for block in getattr(network, name)]
    kept = {}

    def changed(text):
        if "origin" not in kept:
            kept["origin"] = text.clone()
            return text
        o = kept["origin"]
        if form == "base":
            return text + 0.3 * o
        mean, deviation = text.mean(-1, keepdim=True), text.std(-1, keepdim=True) + 1e-6
        standardised = (o - o.mean(-1, keepdim=True)) / (o.std(-1, keepdim=True) + 1e-6)
        mixed = (text - mean) / deviation + 0.3 * standardised
        return deviation * F.layer_norm(mixed, mixed.shape[-1:], eps=1e-6) + mean

    def exchanged(block, first: bool):
        inner, apart = type(block).forward, not isinstance(where, int) or where == 0
        in_double = apart and block in list(getattr(network, lists.split()[0]))

        def forward(*args, **kwargs):
            if first:
                kept.clear()
            if in_double and isinstance(where, str):
                kwargs[where] = changed(kwargs[where])
                kept["n"] = kwargs[where].shape[1]
            elif in_double:
                args = (changed(args[0]), *args[1:])
                kept["n"] = args[0].shape[1]
            else:
                n = kept.get("n") or where
                args = (torch.cat((changed(args[0][:, :n]), args[0][:, n:]), 1), *args[1:])
            return inner(block, *args, **kwargs)

        return forward

    try:
        for n, block in enumerate(blocks):
            block.__dict__["forward"] = exchanged(block, n == 0)
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]


@pytest.mark.parametrize("method", (REINJECTION, TACA))
def test_off_and_stacked(tiny, nurse, method):
    made = make("SD3", tiny)
    off, book = nurse(made.model, method, strength=0.0)
    assert torch.equal(made.sample(off), made.sample()) and len(book) == 0
    acting, _ = nurse(made.model, method, overrides="" if method == REINJECTION else "threshold=0")
    both, book = nurse(acting, "Latent Refine (fast)", at_step=0)
    found = made.sample(both)
    assert torch.isfinite(found).all() and not torch.equal(found, made.sample(acting))
    assert sum(book.find(found).recipes[0].updates) > 0


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"method": TACA, "overrides": "much=1"},
            "overrides, character 1: there is no setting 'much'. Keys: gamma",
        ),
        ({"method": TACA, "overrides": "gamma=much"}, "gamma wants a number, not 'much'"),
        ({"method": REINJECTION, "overrides": "origin=1.5"}, "origin wants a whole number, not '1.5'"),
        ({"method": REINJECTION, "overrides": "form=other"}, "form is 'other': choose one of anchored, base"),
        ({"method": REINJECTION, "overrides": "form=aligned"}, "no file was named. Put one into models/gsn"),
        ({"method": REINJECTION, "overrides": "file=a.safetensors"}, "file is for form=aligned"),
        ({"method": "Magic"}, TACA),
    ],
)
def test_bad_settings_are_refused_with_the_cure(tiny, nurse, settings, cause):
    with pytest.raises(ValueError) as error:
        nurse(tiny.model, **settings)
    assert cause in str(error.value)


@pytest.mark.parametrize("method", (REINJECTION, TACA))
def test_a_saved_at_percent_is_a_remark(tiny, nurse, method):
    made = make("SD3", tiny)
    model, book = nurse(made.model, method, at_percent=0.18)
    made.sample(model)
    assert "at_percent is not used by this method" in book.last().warnings
    model, book = nurse(made.model, method)
    made.sample(model)
    assert not any("at_percent" in warning for warning in book.last().warnings)
