"""A small text encoder in T5's layout (Raffel et al., 2020): its weights load into ComfyUI's T5, module
names are its keys.

Captions as the stock T5 tokenizer cuts them: every word of the shapes world is one piece, only "a" is two.
"""

import math

import numpy as np
import torch
from torch import nn

from .captions import END, LENGTH, START, WORDS

WIDTH, LAYERS, HEADS, HEAD, MLP, BUCKETS, FAR = 64, 2, 2, 32, 128, 32, 128
PIECE_IDS = {
    "</s>": 1,
    "<pad>": 0,
    "\u2581": 3,
    "a": 9,
    "photo": 1202,
    "of": 13,
    "and": 11,
    ",": 6,
    "red": 1131,
    "green": 1442,
    "blue": 1692,
    "yellow": 4459,
    "purple": 11094,
    "black": 1001,
    "circle": 8196,
    "square": 2812,
    "triangle": 19938,
    "star": 2213,
    "cross": 2269,
    "heart": 842,
}
PIECES = tuple(PIECE_IDS)  # row r of the trained embedding belongs to PIECES[r]
_ROW = {piece: row for row, piece in enumerate(PIECES)}
MARKS = 2  # the first two rows: end and padding


def recut(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CLIP rows of captions [n, 77] -> rows of the T5 embedding [n, 77], and for every CLIP column its T5
    column.

    The second array is [n, 77] int64; for CLIP's start, end and padding it means nothing.
    """
    pieces = np.full(rows.shape, _ROW["<pad>"], np.int64)
    where = np.zeros(rows.shape, np.int64)
    for i, row in enumerate(rows):
        cut = []
        for column, word in enumerate(row):
            name = WORDS[word]
            if name not in (START, END):
                cut += [_ROW["\u2581"]] * (name == "a") + [_ROW[name]]
                where[i, column] = len(cut) - 1
        cut.append(_ROW["</s>"])
        pieces[i, : len(cut)] = cut
    return pieces, where


def buckets(length: int) -> torch.Tensor:
    """T5's bidirectional buckets of the distance from query to key -> [length, length] int64 in [0, 32).

    Half of them for keys behind the query; of each half, the first half counts 0, 1, 2, ..., the rest grow
    logarithmically.
    """
    near = BUCKETS // 4
    distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    far = near + (torch.log(distance.abs().clamp(min=1).float() / near) / math.log(FAR / near) * near).long()
    size = torch.where(distance.abs() < near, distance.abs(), far.clamp(max=2 * near - 1))
    return size + (distance > 0) * (BUCKETS // 2)


class _Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer


class _Attention(nn.Module):
    def __init__(self, first: bool):
        super().__init__()
        inner = HEADS * HEAD
        self.q = _linear(WIDTH, inner, (WIDTH * HEAD) ** -0.5)  # T5 does not divide by sqrt(d)
        self.k, self.v = (_linear(WIDTH, inner, WIDTH**-0.5) for _ in range(2))
        self.o = _linear(inner, WIDTH, inner**-0.5)
        if first:  # one table of distances for all layers
            self.relative_attention_bias = nn.Embedding(BUCKETS, HEADS)
            nn.init.normal_(self.relative_attention_bias.weight, std=WIDTH**-0.5)

    def forward(self, x, bias):
        q, k, v = (
            f(x).unflatten(-1, (HEADS, HEAD)).transpose(1, 2) for f in (self.q, self.k, self.v)
        )  # (B, heads, 77, 32)
        weights = (q @ k.transpose(-1, -2) + bias).softmax(-1)
        return self.o((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))  # (B, 77, 64)


class _SelfAttention(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.SelfAttention, self.layer_norm = _Attention(first), _Norm()


class _Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.wi_0, self.wi_1 = (_linear(WIDTH, MLP, WIDTH**-0.5) for _ in range(2))
        self.wo = _linear(MLP, WIDTH, MLP**-0.5)

    def forward(self, x):
        return self.wo(nn.functional.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class _FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.DenseReluDense, self.layer_norm = _Gated(), _Norm()


class _Block(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.layer = nn.ModuleList([_SelfAttention(first), _FeedForward()])

    def forward(self, x, bias):
        attention, feed = self.layer
        x = x + attention.SelfAttention(attention.layer_norm(x), bias)
        return x + feed.DenseReluDense(feed.layer_norm(x))


class _Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.ModuleList(_Block(first=i == 0) for i in range(LAYERS))
        self.final_layer_norm = _Norm()


class T5Encoder(nn.Module):
    """Rows of the embedding [B, 77] int64 -> [B, 77, 64], with padding as SD3 has it: attended to like any
    word.
    """

    def __init__(self):
        super().__init__()
        self.shared, self.encoder = (
            nn.Embedding(len(PIECES) + 1, WIDTH),
            _Stack(),
        )  # last row: every other piece
        nn.init.normal_(self.shared.weight, std=0.5)
        with torch.no_grad():
            self.shared.weight[-1].zero_()
        self.register_buffer("buckets", buckets(LENGTH), persistent=False)

    def forward(self, rows):
        x = self.shared(rows)
        table = self.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
        bias = table(self.buckets).permute(2, 0, 1)  # (heads, 77, 77)
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)
