"""What an encode call sees: which piece of the user's text is in which row of the conditioning.

The host is asked, not copied: its own encode path runs over a shadow of the text encoder whose transformers only number
their positions, so its cropping, padding, masking and concatenation decide where a token goes. No weight is read, no
model is loaded, nothing shared is changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

ENCODER_STEP = 100_000
"""Marks are encoder * ENCODER_STEP + position + 1: whole numbers below 2^24, exact in float32."""


class _Grid(Exception):
    """What a vision tower would have been asked to look at: patches [pictures, 3] in time, height and width."""


class _VisionStub(torch.nn.Module):
    """Stands for a vision tower."""

    def forward(self, pixels, grid, *args, **options):
        raise _Grid(grid)


class _PositionEncoder(torch.nn.Module):
    """Stands for a text transformer: every channel of every output is the number of the token at that position.

    pictures: how many positions each picture in the prompt took, as far as that is known.
    """

    def __init__(self, original: torch.nn.Module, number: int):
        super().__init__()
        self.number = number
        self.num_layers = getattr(original, "num_layers", 24)
        self.width = width_of(original)
        self.__dict__["original"] = original  # not as a part of it
        self.pictures: list[int] = []

    def preprocess_embed(self, embed: dict, device) -> tuple[Tensor | None, None]:
        """As many rows as the host makes of a picture, none where that is not known; the vision tower is not run."""
        tower = self.original._modules.get("visual")
        merge = getattr(tower, "spatial_merge_size", None)
        if merge is None:
            return None, None
        blind = copy.copy(self.original)
        blind.__dict__["_modules"] = {**self.original._modules, "visual": _VisionStub()}
        try:
            blind.preprocess_embed(dict(embed), device)
        except _Grid as grid:
            self.pictures.append(int(grid.args[0].prod(-1).sum()) // merge**2)
            return torch.zeros(self.pictures[-1], self.width, device=device), None
        return None, None

    def get_input_embeddings(self) -> Callable[..., Tensor]:
        def embed(ids: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
            return torch.zeros(*ids.shape, self.width, device=ids.device)

        embed.weight = torch.zeros(1, self.width)
        return embed

    def forward(
        self,
        ids=None,
        attention_mask=None,
        embeds=None,
        intermediate_output=None,
        capture_layers=None,
        **options,
    ):
        shape = embeds.shape if embeds is not None else (*ids.shape, self.width)
        device = embeds.device if embeds is not None else ids.device
        b, n, width = shape
        positions = torch.arange(b * n, dtype=torch.float32, device=device).reshape(
            b, n, 1
        )  # [B, N, 1]: chunks follow each other
        marks = (self.number * ENCODER_STEP + positions + 1).expand(b, n, width).contiguous()
        if capture_layers is not None:
            return {"hidden_states": [marks] * len(capture_layers)}
        pooled = torch.zeros(b, width, device=device)
        if intermediate_output is None or isinstance(intermediate_output, int):
            return marks, marks.clone(), pooled, pooled
        layers = self.num_layers if intermediate_output == "all" else len(intermediate_output)
        return marks, marks.unsqueeze(1).repeat(1, layers, 1, 1), pooled, pooled  # [B, layers, N, C]


def width_of(transformer: torch.nn.Module) -> int:
    """Channels of its input embeddings."""
    embeddings = transformer.get_input_embeddings()
    return int(getattr(embeddings, "embedding_dim", None) or embeddings.weight.shape[-1])


def is_text_encoder(module: torch.nn.Module) -> bool:
    return hasattr(module, "transformer") and hasattr(module, "encode_token_weights")


def _shadow(module: torch.nn.Module, path: str, names: dict[int, str]) -> torch.nn.Module:
    """A copy of the module tree in which each text transformer is a _PositionEncoder; parameters are shared, options are not."""
    children = dict(module._modules)
    if is_text_encoder(module):
        names[len(names) + 1] = path
        children["transformer"] = _PositionEncoder(module.transformer, len(names))
    else:
        for name, child in children.items():
            if child is not None:
                children[name] = _shadow(child, f"{path}.{name}".strip("."), names)
    shadow = copy.copy(module)
    shadow.__dict__["_modules"] = children
    return shadow


@dataclass(frozen=True)
class Seen:
    """Where one tokenizer's tokens are in what the text encoder hands over.

    tensor: "" for the conditioning itself, else the name of a further one (`conditioning_mt5xl`, `t5xxl_ids`). rows:
    {position in its tokens: row of that tensor}; {} where no row holds a token. width: of an embedding that the encoder takes.
    pictures: how many positions each picture among the tokens takes, as far as that is known.
    """

    tensor: str = ""
    rows: Mapping[int, int] = field(default_factory=dict)
    width: int | None = None
    pictures: tuple[int, ...] = ()


def tokens_seen(cond_stage_model: torch.nn.Module, tokens: dict) -> tuple[dict[str, Seen], int]:
    """({key of `tokens`: where its tokens are}, number of rows of the conditioning).

    tokens: as `CLIP.tokenize` returns them; positions run through all chunks. Positions that are cropped, padding that is
    not kept and encoders that are only pooled have no row. Raises ValueError if nothing that is known reads them.
    """
    names: dict[int, str] = {}
    shadow = _shadow(cond_stage_model, "", names)
    if hasattr(shadow, "reset_clip_options"):
        shadow.reset_clip_options()  # on the copy: the device and clip skip of the last real encode do not matter here
    keys = [key for key, chunks in tokens.items() if is_chunks(chunks)]
    paths = {key: encoder_of(key, keys, list(names.values())) for key in keys}
    numbers = {path: number for number, path in names.items()}
    for (
        key
    ) in keys:  # what no text transformer reads may be handed on as it is: number it in the tokens themselves
        numbers.setdefault(paths[key] or key, len(numbers) + 1)
    marked = {
        key: _marked(chunks, None if paths.get(key) else numbers[key]) if key in paths else chunks
        for key, chunks in tokens.items()
    }
    with torch.no_grad():
        cond, _, *more = shadow.encode_token_weights(marked)
    found = {
        "": _positions(cond),
        **{name: _positions(t) for name, t in (more[0] if more else {}).items() if isinstance(t, Tensor)},
    }
    seen = {}
    for key in keys:
        path = paths[key]
        tensor = next((name for name, rows in found.items() if numbers[path or key] in rows), None)
        rows = {} if tensor is None else found[tensor][numbers[path or key]]
        reader = None if path is None else shadow.get_submodule(path).transformer
        seen[key] = (
            Seen(tensor or "", rows)
            if reader is None
            else Seen(tensor or "", rows, reader.width, tuple(reader.pictures))
        )
    if not names and not any(place.rows for place in seen.values()):
        raise ValueError("it has no text transformer of a known kind")
    return seen, cond.shape[-2]


def _positions(made: Tensor) -> dict[int, dict[int, int]]:
    """{number of an encoder: {position: row}} of a tensor [.., rows, C] that holds numbers, or of token ids [rows] or [1, rows]."""
    if made.ndim > 2:
        made = made.reshape(-1, *made.shape[-2:])[0]  # [rows, C]
    elif made.is_floating_point():
        return {}  # pooled
    else:
        made = made.reshape(-1, 1)  # [rows, 1]
    table = (made.float() if made.is_floating_point() else made).cpu()
    firsts = torch.ones_like(table, dtype=torch.bool)
    firsts[:, 1:] = (
        table[:, 1:] != table[:, :-1]
    )  # one entry for each encoder whose channels are side by side in a row
    rows: dict[int, dict[int, int]] = {}
    for row, mark in zip(firsts.nonzero()[:, 0].tolist(), table[firsts].tolist()):
        number, position = divmod(mark - 1, ENCODER_STEP)
        if number > 0 and position == int(position):
            rows.setdefault(int(number), {}).setdefault(int(position), row)
    return rows


def _marked(chunks: list, number: int | None) -> list:
    """All weights 1: a weight mixes a row with that of the empty prompt. number: with numbered positions in place of the ids."""
    entries = [[(entry[0], 1.0, *entry[2:]) for entry in chunk] for chunk in chunks]
    if number is None:
        return entries
    marks = count(number * ENCODER_STEP + 1)
    return [[(next(marks), *entry[1:]) for entry in chunk] for chunk in entries]


def is_chunks(value) -> bool:
    """Is it a list of chunks of (token, weight, ...) entries, as the host's tokenizers make them?"""
    return isinstance(value, list) and all(
        isinstance(chunk, list) and all(isinstance(entry, tuple) and len(entry) > 1 for entry in chunk)
        for chunk in value
    )


def encoder_of(key: str, keys: Sequence[str], paths: Sequence[str]) -> str | None:
    """The text encoder (module path) that reads tokens[key]: by its name, else the only one if there is only one key."""
    last = {path.rsplit(".", 1)[-1]: path for path in paths}
    others = {name for other in keys if other != key for name in (other, f"clip_{other}")}
    for name in (
        key,
        f"clip_{key}",
        *(name for name in last if name and name not in others and (key in name or name in key)),
    ):
        if name in last:
            return last[name]
    return paths[0] if len(paths) == len(keys) == 1 else None
