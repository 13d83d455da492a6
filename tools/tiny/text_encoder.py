"""A small text encoder in CLIP's layout: the module names are ComfyUI's `text_model` keys, so its weights
load there.
"""

import torch
from torch import nn

from .captions import LENGTH, WORDS

WIDTH, LAYERS, HEADS, MLP = 64, 2, 2, 128


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, mask):
        q, k, v = (
            f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, heads, 77, 32)
            for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        weights = (q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5 + mask).softmax(-1)
        return self.out_proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))  # (B, 77, 64)


class _MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, MLP), nn.Linear(MLP, WIDTH)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))  # quick_gelu, as CLIP-L


class _Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(WIDTH), _Attention()
        self.layer_norm2, self.mlp = nn.LayerNorm(WIDTH), _MLP()

    def forward(self, x, mask):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(len(WORDS) + 1, WIDTH)  # last row: every word unknown here
        self.position_embedding = nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        nn.init.normal_(self.position_embedding.weight, std=0.1)
        with torch.no_grad():
            self.token_embedding.weight[-1].zero_()  # never trained: an unknown word says nothing

    def forward(self, rows):
        return self.token_embedding(rows) + self.position_embedding.weight


class _Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))


class TextEncoder(nn.Module):
    """Rows of the embedding [B, 77] int64 -> last hidden state after the final norm [B, 77, 64].

    final_norm=False: without that norm, as SD3 reads its CLIPs (from the last layer but one; that last one is
    not built here).
    """

    def __init__(self, final_norm: bool = True):
        super().__init__()
        self.embeddings, self.encoder = _Embeddings(), _Encoder()
        self.final_layer_norm = nn.LayerNorm(WIDTH) if final_norm else nn.Identity()
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), -1e4).triu(1), persistent=False)

    def forward(self, rows):
        x = self.embeddings(rows)
        for layer in self.encoder.layers:
            x = layer(x, self.mask)
        return self.final_layer_norm(x)
