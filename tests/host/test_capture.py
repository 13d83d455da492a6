"""The capture by itself: probabilities against an explicit softmax, and which attention calls it
recognises.
"""

import pytest
import torch


@pytest.fixture(scope="module")
def capture(pack_module):
    return pack_module("gsn_ops.host.attention.capture")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explicit(q, k, mask=None, scale=None):
    """softmax(q k^T scale + mask), [B, H, N, K], written out."""
    e = torch.exp(
        torch.einsum("bhid,bhjd->bhij", q, k) * (scale or q.shape[-1] ** -0.5) + (0 if mask is None else mask)
    )
    return e / e.sum(-1, keepdim=True)


@pytest.mark.parametrize("ndim", (2, 3, 4))
@pytest.mark.parametrize("kind", ("float", "bool"))
def test_joint_attention_with_grouped_queries_and_the_hosts_masks(capture, kind, ndim):
    """Text first, then a 4x6 picture; 4 query heads share 2 key heads; the mask in every form ComfyUI
    takes.
    """
    grid, n_text, first = (4, 6), 10, 3
    layout = capture.AttentionLayout(
        "joint", (8, 12), n_text, n_text + 24, first_column=first, first_image=n_text, patch=2
    )
    q, k = random(2, 4, n_text + 24, 8), random(2, 2, n_text + 24, 8, seed=1)
    seen = capture.Capture(layout, slice(1, 6), (2,))
    mask = random(n_text + 24, n_text + 24, seed=2)
    mask = mask > -1 if kind == "bool" else mask
    shaped = {2: mask, 3: mask.expand(2, -1, -1), 4: mask.expand(2, 1, -1, -1)}[ndim]
    seen.observe(q, k, {"block": ("double", 0)}, shaped)
    additive = torch.zeros(mask.shape).masked_fill(~mask, float("-inf")) if kind == "bool" else mask
    right = (
        explicit(q, k.repeat_interleave(2, 1), additive)
        .mean(1)[:, n_text:, first + 1 : first + 6]
        .unflatten(1, grid)
    )
    ((level, maps),) = seen.state.layers
    assert level == 2 and maps.shape == (2, 4, 6, 5)
    assert (maps - right).abs().max() < 1e-5


def test_single_heads_on_request(capture):
    layout = capture.AttentionLayout("cross", (8, 8), 77, 77)
    q, k = random(1, 2, 16, 8), random(1, 2, 77, 8, seed=1)
    whole, single = (
        capture.Capture(layout, slice(1, 76), (2,)),
        capture.Capture(layout, slice(1, 76), (2,), heads=True),
    )
    for seen in (whole, single):
        seen.observe(q, k, {"block": ("input", 1)})
    assert single.state.layers[0][1].shape == (1, 2, 4, 4, 75)
    assert torch.equal(single.state.layers[0][1].mean(1), whole.state.layers[0][1])


def test_middle_and_first_up_block_of_a_real_unets_order(capture):
    """SD1 at 512: no attention in output 0 ... 2, so the first up block that attends is output 3 ... 5, of
    another level than the middle.
    """
    layout = capture.AttentionLayout("cross", (64, 64), 77, 77)
    seen = capture.Capture(layout, slice(1, 76), (4,), middle_up=True)
    for part, numbers, side in (
        ("input", (7, 8), 16),
        ("middle", (0,), 8),
        ("output", (3, 4, 5), 16),
        ("output", (6, 7, 8), 32),
    ):
        for number in numbers:
            for length in (side * side, 77):  # its self-attention, then its cross-attention
                seen.observe(
                    random(1, 1, side * side, 8),
                    random(1, 1, length, 8),
                    {"block": (part, number), "block_index": 0},
                )
    assert [level for level, _ in seen.state.layers] == [8, 4, 4, 4]


def test_rows_of_self_attention_on_request(capture):
    layout = capture.AttentionLayout("cross", (8, 12), 77, 77)
    q, k = random(2, 3, 24, 8), random(2, 3, 24, 8, seed=1)
    seen = capture.Capture(layout, slice(1, 76), (2,), self_rows=True)
    seen.observe(q, k, {"block": ("input", 1)})
    ((level, attention),) = seen.state.self_attention
    cells = torch.tensor([[0, 23], [7, 5]])
    right = explicit(q, k).mean(1)[torch.arange(2)[:, None], cells].unflatten(-1, (4, 6))
    assert level == 2 and seen.state.layers == []
    assert (attention.rows(cells) - right).abs().max() < 1e-5


def test_in_a_unet_cross_attention_is_told_from_self_attention_also_where_both_have_the_same_length(capture):
    """A 7x11 grid has 77 cells, as many as the text has tokens: only the order within the block tells."""
    layout = capture.AttentionLayout("cross", (14, 22), 77, 77)
    assert layout.is_text_to_image(28, 77, 0) and layout.is_text_to_image(28, 77, 1)
    assert not layout.is_text_to_image(28, 28, 0)
    assert not layout.is_text_to_image(77, 77, 0) and layout.is_text_to_image(77, 77, 1)
    assert layout.is_text_to_image(28, 81, 1) and not layout.is_text_to_image(
        28, 16, 1
    )  # longer text; an image prompt of 16 tokens
    seen = capture.Capture(layout, slice(1, 76), (2,))
    first, second = random(1, 1, 77, 8), random(1, 1, 77, 8, seed=1)
    seen.observe(first, first, {"block": ("input", 1), "block_index": 0})
    assert seen.state.layers == []
    seen.observe(first, second, {"block": ("input", 1), "block_index": 0})
    assert seen.state.layers[0][1].shape == (1, 7, 11, 75)


def test_levels_of_a_latent_whose_sides_are_odd(capture):
    layout = capture.AttentionLayout("cross", (27, 18), 77, 77)
    assert [(layout.cells(n), layout.level(layout.cells(n))) for n in (27 * 18, 14 * 9, 7 * 5, 4 * 3)] == [
        ((27, 18), 1),
        ((14, 9), 2),
        ((7, 5), 4),
        ((4, 3), 8),
    ]


def test_b8_any_number_of_tokens_that_the_network_says_it_works_on(capture):
    layout = capture.AttentionLayout("cross", (32, 32), 77, 77, blocks={("input", 4): 2})
    assert layout.grid(200) is None and layout.grid(200, (10, 20)) == (10, 20)
    assert layout.grid(256, (21, 21)) == (16, 16)  # what it said before, of another call
    assert layout.level((21, 21), ("input", 4)) == 2 and layout.level((16, 16), ("input", 1)) == 2
    seen = capture.Capture(layout, slice(1, 76), (2,))
    q, k = random(1, 1, 441, 8), random(1, 1, 77, 8, seed=1)
    options = {"block": ("input", 4), "block_index": 0, "activations_shape": [1, 8, 21, 21]}
    seen.observe(q, q, options)
    seen.observe(q, k, options)
    assert [(level, tuple(p.shape)) for level, p in seen.state.layers] == [(2, (1, 21, 21, 75))]


def test_b8_merged_tokens_are_left_out_and_no_error(capture):
    seen = capture.Capture(
        capture.AttentionLayout("cross", (32, 32), 77, 77), slice(1, 76), (), self_rows=True
    )
    merged, text = random(1, 1, 200, 8), random(1, 1, 77, 8, seed=1)
    seen.observe(merged, merged, {})
    seen.observe(merged, text, {})
    assert seen.state.layers == [] == seen.state.self_attention


def test_the_end_of_a_pass_is_no_exception_that_a_fallback_could_swallow(capture):
    assert not issubclass(capture.AllCaptured, Exception)
    seen = capture.Capture(capture.AttentionLayout("cross", (8, 8), 77, 77), slice(1, 76), (2,), stop_after=2)
    q, k = random(1, 1, 16, 8), random(1, 1, 77, 8, seed=1)
    seen.observe(q, k, {"block": ("input", 1)})
    with pytest.raises(capture.AllCaptured):
        try:
            seen.observe(q, k, {"block": ("input", 2)})
        except Exception:
            pass


def test_only_spans_are_read_where_each_column_costs(capture):
    """Joint attention through the override as ComfyUI calls it: the same output, and 0 for what lies between
    two spans.
    """
    from comfy.ldm.modules.attention import attention_pytorch

    layout = capture.AttentionLayout("joint", (8, 12), 12, 36, first_image=12, patch=2)
    q, k, v = (random(1, 36, 2 * 8, seed=seed) for seed in range(3))
    seen = []
    for spans in ((), (slice(1, 4), slice(9, 11))):
        read = capture.Capture(layout, slice(1, 11), (), spans=spans)
        out = read(attention_pytorch, q, k, v, 2, transformer_options={})
        assert (out - attention_pytorch(q, k, v, 2)).abs().max() < 1e-5
        ((_, maps),) = read.state.layers
        seen.append(maps)
    every, some = seen
    assert torch.equal(some[..., 3:8], torch.zeros(1, 4, 6, 5)) and every[..., 3:8].min() > 0
    assert (some[..., [0, 1, 2, 8, 9]] - every[..., [0, 1, 2, 8, 9]]).abs().max() < 1e-6


def test_a_snapshot_has_no_tensors_and_a_restored_one_goes_on_where_it_was_taken(capture):
    """Checkpointing runs a block again with the state of its first run: its calls count as they did then,
    once.
    """
    layout = capture.AttentionLayout("cross", (8, 8), 77, 77)
    q, k = random(1, 1, 16, 8), random(1, 1, 77, 8, seed=1)
    seen = capture.Capture(layout, slice(1, 76), (2,), self_rows=True, stop_after=2)
    seen.observe(q, q, {"block": ("input", 1)})
    seen.observe(q, k, {"block": ("input", 1)})
    snapshot = seen.snapshot()
    with pytest.raises(capture.AllCaptured):
        seen.observe(q, k, {"block": ("input", 2)})
    assert snapshot.layers == snapshot.self_attention == [] and snapshot.n_captured == 1
    after = seen.restore(snapshot)
    with pytest.raises(capture.AllCaptured):
        seen.observe(q, k, {"block": ("input", 2)})
    assert seen.restore(after) is snapshot and seen.state is after
    assert (len(snapshot.layers), len(after.layers), len(after.self_attention)) == (1, 2, 1)
    assert (snapshot.calls, snapshot.n_text_to_image, snapshot.n_captured) == (after.calls, 2, 2)


def test_the_order_of_attention_backends_is_restored(pack_module, monkeypatch):
    """cuDNN comes first for one call; on a CPU no order is set."""
    text = pack_module("gsn_ops.torch_ops.text_attention")
    q, k, v = (random(1, 2, 9, 8, seed=n) for n in range(3))
    assert not text.prefers_cudnn(q)
    plain = text.attention_with_text(q, k, v, [1, 2])
    order, seen = torch._C._get_sdp_priority_order(), []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noting(*args, **kwargs):
        seen.append(torch._C._get_sdp_priority_order()[0])
        return attend(*args, **kwargs)

    monkeypatch.setattr(text, "prefers_cudnn", lambda q: True)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    for ours, right in zip(text.attention_with_text(q, k, v, [1, 2]), plain, strict=True):
        assert torch.equal(ours, right)
    assert seen == [int(torch.nn.attention.SDPBackend.CUDNN_ATTENTION)]
    assert torch._C._get_sdp_priority_order() == order
