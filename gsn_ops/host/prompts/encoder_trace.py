"""Traces an encode call: which token of the user's text is in which row of the conditioning.

ComfyUI's own encode path runs on a copy of the text encoder whose transformers only number their positions,
so its cropping, padding, masking and concatenation decide where a token goes. No weight is read, no model is
loaded, nothing shared is changed.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from comfy.sd import CLIP
from torch import Tensor

ENCODER_STEP = 100_000
"""Marks are encoder * ENCODER_STEP + position + 1: whole numbers below 2^24, exact in float32."""

ROUNDING = 0.05
"""How far a mark may be from a whole number: a patched encoder may have blended it with itself."""

MAX_NESTING = 8  # of functions inside a patch


@dataclass(frozen=True)
class TracedTokens:
    """Where one tokenizer's tokens are in what the text encoder returns.

    tensor: "" for the conditioning itself, else the name of a further tensor (`conditioning_mt5xl`,
    `t5xxl_ids`). rows: {position among the tokens: row of that tensor}; {} where no row holds a token. width:
    channels of an embedding that the encoder takes, None if unknown. images: how many positions each image in
    the prompt takes, as far as known.
    """

    tensor: str = ""
    rows: Mapping[int, int] = field(default_factory=dict)
    width: int | None = None
    images: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Where all tokens of one encode call are.

    encoders: {key of the tokens: where they are}. rows: of the conditioning, counted as keys of the
    attention. rows_per_key: 2 where a pack has put keys and values of the attention into rows of their own
    (NegPip), which its attention patch takes apart again; else 1.
    """

    encoders: dict[str, TracedTokens]
    rows: int
    rows_per_key: int = 1


def trace_tokens(clip: CLIP, tokens: dict) -> Trace:
    """Where the tokens are in what the text encoder returns, with what patches it has at this moment.

    tokens: as `CLIP.tokenize` returns them; positions run through all chunks. Positions that are cropped,
    padding that is not kept and encoders that are only pooled have no row. Raises ValueError if nothing known
    reads them.
    """
    paths_by_number: dict[int, str] = {}
    copies: dict[int, Any] = {}
    tracer: Any = _tracing_copy(clip.cond_stage_model, "", paths_by_number, copies)
    for made in copies.values():
        _rebind(made, copies)
    if hasattr(tracer, "reset_clip_options"):
        tracer.reset_clip_options()  # on the copy: device and clip skip of the last encode do not matter here
    keys = [key for key, chunks in tokens.items() if is_chunks(chunks)]
    paths = {key: encoder_of(key, keys, list(paths_by_number.values())) for key in keys}
    numbers = _numbers(paths, paths_by_number)
    with torch.no_grad():
        cond, _, *extra = tracer.encode_token_weights(_marked_tokens(tokens, paths, numbers))
    pairs = _in_pairs(cond)
    tensors = {"": _positions(cond[..., ::2, :] if pairs else cond)}
    for name, t in (extra[0] if extra else {}).items():
        if isinstance(t, Tensor):
            tensors[name] = _positions(t)
    traced = {}
    for key, path in paths.items():
        encoder = None if path is None else tracer.get_submodule(path).transformer
        traced[key] = _find(numbers[key], tensors, encoder)
    if not paths_by_number and not any(found.rows for found in traced.values()):
        raise ValueError("it has no text transformer of a known kind")
    return Trace(traced, cond.shape[-2] // (1 + pairs), 1 + pairs)


def _in_pairs(made: Tensor) -> bool:
    """Whether rows 2 i and 2 i + 1 of [.., rows, C] hold the same marks; single tokens have marks of their
    own.
    """
    even, odd = made[..., ::2, :], made[..., 1::2, :]
    return even.shape == odd.shape and bool(even.count_nonzero()) and torch.equal(even.abs(), odd.abs())


def _numbers(paths: Mapping[str, str | None], paths_by_number: Mapping[int, str]) -> dict[str, int]:
    """{key: number in the marks of its tokens}.

    That of its encoder, or a new one if no text transformer reads it.
    """
    of_path = {path: number for number, path in paths_by_number.items()}
    numbers: dict[str, int] = {}
    new = len(of_path)
    for key, path in paths.items():
        if path is None:
            new += 1
            numbers[key] = new
        else:
            numbers[key] = of_path[path]
    return numbers


def _marked_tokens(tokens: dict, paths: Mapping[str, str | None], numbers: Mapping[str, int]) -> dict:
    """`tokens` with weight 1 everywhere, and marks in place of the ids where no text transformer reads them.

    Such ids may be returned as they are (`t5xxl_ids`).
    """
    marked = dict(tokens)
    for key, path in paths.items():
        marked[key] = _marked(tokens[key], numbers[key] if path is None else None)
    return marked


def _marked(chunks: list, number: int | None) -> list:
    """Chunks with all weights 1: another weight mixes a row with that of the empty prompt."""
    entries = [[(entry[0], 1.0, *entry[2:]) for entry in chunk] for chunk in chunks]
    if number is None:
        return entries
    marks = count(number * ENCODER_STEP + 1)
    return [[(next(marks), *entry[1:]) for entry in chunk] for chunk in entries]


def _find(
    number: int, tensors: Mapping[str, dict[int, dict[int, int]]], encoder: _PositionEncoder | None
) -> TracedTokens:
    """The first tensor that holds marks with this number."""
    tensor = next((name for name, rows in tensors.items() if number in rows), None)
    rows = {} if tensor is None else tensors[tensor][number]
    if encoder is None:
        return TracedTokens(tensor or "", rows)
    return TracedTokens(tensor or "", rows, encoder.width, tuple(encoder.images))


def _positions(made: Tensor) -> dict[int, dict[int, int]]:
    """{number: {position: row}} of the marks in a tensor [.., rows, C], or in token ids [(1,) rows]."""
    if made.ndim > 2:
        made = made.reshape(-1, *made.shape[-2:])[0]  # [rows, C]
    elif made.is_floating_point():
        return {}  # pooled
    else:
        made = made.reshape(-1, 1)  # [rows, 1]
    table = (made.float() if made.is_floating_point() else made).cpu()
    # Encoders whose channels are side by side in a row: the first channel of each.
    firsts = torch.ones_like(table, dtype=torch.bool)
    firsts[:, 1:] = table[:, 1:] != table[:, :-1]
    rows: dict[int, dict[int, int]] = {}
    for row, mark in zip(firsts.nonzero()[:, 0].tolist(), table[firsts].tolist()):
        number, position = divmod(round(mark) - 1, ENCODER_STEP)
        if number > 0 and abs(mark - round(mark)) < ROUNDING:
            rows.setdefault(number, {}).setdefault(position, row)
    return rows


class _VisionGrid(Exception):
    """The patches that a vision tower would have read: [images, 3] in time, height and width."""


class _VisionStub(torch.nn.Module):
    """Replaces a vision tower, which is not run."""

    def forward(self, pixels, grid, *args, **options):
        raise _VisionGrid(grid)


class _ZeroEmbedding:
    """Embeddings [B, N, width] of zeros, for any ids [B, N]."""

    def __init__(self, width: int):
        self.weight = torch.zeros(1, width)

    def __call__(self, ids: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(*ids.shape, self.weight.shape[1], device=ids.device)


class _PositionEncoder(torch.nn.Module):
    """Replaces a text transformer: every channel of every output is the mark of the token at that position.

    images: how many positions each image in the prompt took, as far as known.
    """

    original: Any  # the transformer it replaces

    def __init__(self, original: torch.nn.Module, number: int):
        super().__init__()
        self.number = number
        self.num_layers = getattr(original, "num_layers", 24)
        self.width = width_of(original)
        self.__dict__["original"] = original  # not as a submodule
        self.images: list[int] = []

    def preprocess_embed(self, embed: dict, device) -> tuple[Tensor | None, None]:
        """As many rows as ComfyUI makes of an image, none if unknown. The vision tower is not run."""
        tower = self.original._modules.get("visual")
        merge = getattr(tower, "spatial_merge_size", None)
        if merge is None:
            return None, None
        without_tower = copy.copy(self.original)
        without_tower.__dict__["_modules"] = {**self.original._modules, "visual": _VisionStub()}
        try:
            without_tower.preprocess_embed(dict(embed), device)
        except _VisionGrid as grid:
            self.images.append(int(grid.args[0].prod(-1).sum()) // merge**2)
            return torch.zeros(self.images[-1], self.width, device=device), None
        return None, None

    def get_input_embeddings(self) -> _ZeroEmbedding:
        """As ComfyUI asks for it to embed the tokens."""
        return _ZeroEmbedding(self.width)

    def forward(
        self,
        ids: Any = None,
        attention_mask: Any = None,
        embeds: Tensor | None = None,
        intermediate_output: Any = None,
        capture_layers: Any = None,
        **options: Any,
    ) -> Any:
        """Marks [B, N, C] in every form in which ComfyUI asks for hidden states."""
        if embeds is None:
            embeds = self.get_input_embeddings()(ids)
        b, n, width = embeds.shape
        device = embeds.device
        positions = torch.arange(b * n, dtype=torch.float32, device=device)  # chunks follow each other
        marks = self.number * ENCODER_STEP + positions.reshape(b, n, 1) + 1
        marks = marks.expand(b, n, width).contiguous()
        if capture_layers is not None:
            return {"hidden_states": [marks] * len(capture_layers)}
        pooled = torch.zeros(b, width, device=device)
        if intermediate_output is None or isinstance(intermediate_output, int):
            return marks, marks.clone(), pooled, pooled
        layers = self.num_layers if intermediate_output == "all" else len(intermediate_output)
        return marks, marks.unsqueeze(1).repeat(1, layers, 1, 1), pooled, pooled  # [B, layers, N, C]


def width_of(transformer: Any) -> int:
    """Channels of its input embeddings."""
    embeddings = transformer.get_input_embeddings()
    return int(getattr(embeddings, "embedding_dim", None) or embeddings.weight.shape[-1])


def is_text_encoder(module: torch.nn.Module) -> bool:
    """Does this module encode tokens with a transformer, as ComfyUI's `SDClipModel` does?"""
    return hasattr(module, "transformer") and hasattr(module, "encode_token_weights")


def _tracing_copy(module: Any, path: str, paths_by_number: dict[int, str], copies: dict[int, Any]) -> Any:
    """A copy of a module tree in which each text transformer is a _PositionEncoder, with numbers from 1 on.

    Parameters are shared, options are not. Adds {number: path of the encoder} and {id of a module: its copy}.
    """
    children = dict(module._modules)
    if is_text_encoder(module):
        number = len(paths_by_number) + 1
        paths_by_number[number] = path
        children["transformer"] = _PositionEncoder(module.transformer, number)
    else:
        for name, child in children.items():
            if child is not None:
                inner = f"{path}.{name}".strip(".")
                children[name] = _tracing_copy(child, inner, paths_by_number, copies)
    made = copies[id(module)] = copy.copy(module)
    made.__dict__["_modules"] = children
    return made


def _rebind(made: Any, copies: Mapping[int, Any]) -> None:
    """Methods that other packs have put on this module call the copies instead of the originals.

    ComfyUI's object patches are such methods; after one is taken off, the original method stays on the
    instance.
    """
    for name, value in list(made.__dict__.items()):
        if isinstance(value, types.MethodType) and not isinstance(value.__self__, torch.nn.Module):
            del made.__dict__[name]  # of an encoder of the pack's own: this one's method has the same rows
        elif isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            made.__dict__[name] = _rebound(value, copies)


def _rebound(value: Any, copies: Mapping[int, Any], depth: int = 0) -> Any:
    """A function, method or partial that refers to the copies of the modules it refers to."""
    if id(value) in copies:
        return copies[id(value)]
    if depth == MAX_NESTING:
        return value

    def inner(x: Any) -> Any:
        return _rebound(x, copies, depth + 1)

    if isinstance(value, functools.partial):
        keywords = {name: inner(x) for name, x in value.keywords.items()}
        return functools.partial(inner(value.func), *map(inner, value.args), **keywords)
    if isinstance(value, types.MethodType):
        return types.MethodType(inner(value.__func__), inner(value.__self__))
    if isinstance(value, types.FunctionType) and value.__closure__:
        cells = tuple(types.CellType(inner(cell.cell_contents)) for cell in value.__closure__)
        made = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, value.__defaults__, cells
        )
        made.__kwdefaults__ = value.__kwdefaults__
        return made
    return value


def is_chunks(value: object) -> bool:
    """Is it a list of chunks of (token, weight, ...) entries, as ComfyUI's tokenizers make them?"""
    return isinstance(value, list) and all(_is_chunk(chunk) for chunk in value)


def _is_chunk(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, tuple) and len(entry) > 1 for entry in value)


def encoder_of(key: str, keys: Sequence[str], paths: Sequence[str]) -> str | None:
    """The text encoder (module path) that reads tokens[key], found by its name.

    Else the only one, if there is only one key.
    """
    by_name = {path.rsplit(".", 1)[-1]: path for path in paths}
    of_other_keys = {name for other in keys if other != key for name in (other, f"clip_{other}")}
    similar = [
        name for name in by_name if name and name not in of_other_keys and (key in name or name in key)
    ]
    for name in (key, f"clip_{key}", *similar):
        if name in by_name:
            return by_name[name]
    return paths[0] if len(paths) == len(keys) == 1 else None
