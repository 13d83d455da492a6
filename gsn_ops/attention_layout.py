"""Where text and image are in the attention of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AttentionLayout:
    """Where text and image are in the attention of one forward pass.

    kind: "cross" (keys are text) or "joint" (the image is among the keys). latent: (h, w) of the model's
    input. n_text: text tokens in the attention. n_keys: keys of a text-to-image call. first_column: key
    position of row 0 of the conditioning. first_image: key position of the first image token (joint; queries
    are the last of the keys, or all). patch: latent cells per token and side; None = a UNet, whose calls have
    the grid of any level and, where the image is among the keys, begin with it (first_column then counts from
    the end of the image). blocks: level of each of a UNet's blocks, by ComfyUI's name, as its own steps down
    make it: a patch that shrinks the image inside the network does not change it.
    """

    kind: str
    latent: tuple[int, int]
    n_text: int
    n_keys: int
    first_column: int = 0
    first_image: int = 0
    patch: int | None = None
    blocks: Mapping[tuple, int] = field(default_factory=dict)

    def is_text_to_image(self, n_q: int, n_k: int, nth_in_block: int) -> bool:
        """Is a call with these lengths text-to-image attention?

        nth_in_block: 0 = the first call of its block. Lengths must fit exactly, so that blocks that see only
        the text or only the image are left out. A block with cross-attention calls self-attention first; the
        count decides only where both have the same lengths, or where another pack has made a UNet's text
        longer.
        """
        joint = self.kind == "joint"
        if self.patch is None:
            if joint:
                return n_k == n_q + self.n_text
            return n_k == self.n_text != n_q or (nth_in_block % 2 == 1 and n_k >= self.n_text)
        if joint:
            return n_k == self.n_keys and self._first_row(n_q) >= 0
        h, w = self.cells(n_q)
        return (n_q, n_k) == (h * w, self.n_keys) and (n_q != n_k or nth_in_block % 2 == 1)

    def is_self_attention(self, n_q: int, n_k: int, shape: tuple[int, int] | None = None) -> bool:
        """Is a call with these lengths self-attention of the whole image? Never in joint attention.

        shape: as for `cells`.
        """
        if self.kind == "joint" or n_q != n_k:
            return False
        grid = self.grid(n_q, shape)
        return grid is not None and n_q == grid[0] * grid[1]

    def rows(self, n_q: int) -> slice:
        """The image's queries in a text-to-image call: all of a UNet's."""
        if self.patch is None:
            return slice(0, n_q)
        h, w = self.cells(n_q)
        return slice(self._first_row(n_q), self._first_row(n_q) + h * w)

    def image_keys(self, n_q: int) -> slice:
        """The image's keys in a text-to-image call of joint attention with n_q queries."""
        if self.patch is None:
            return slice(0, n_q)
        h, w = self.cells(n_q)
        return slice(self.first_image, self.first_image + h * w)

    def columns(self, wanted: slice, n_q: int) -> slice:
        """The keys of rows `wanted` of the conditioning in a text-to-image call."""
        first = self.first_column
        if self.patch is None and self.kind == "joint":
            first += n_q
        return slice(first + wanted.start, first + wanted.stop)

    def _first_row(self, n_q: int) -> int:
        """Query position of the first image token; negative if a joint call has too few queries for it."""
        if self.patch is None or self.kind != "joint":
            return 0
        return self.first_image - (self.n_keys - n_q)

    def grid(self, n_q: int, shape: tuple[int, int] | None = None) -> tuple[int, int] | None:
        """The grid (h, w) of a call with n_q queries; None if they are no grid (merged or tiled tokens).

        shape: the grid that the network itself says it works on (UNets); used if it has n_q tokens.
        """
        h, w = self.latent
        if self.patch is not None:
            return -(-h // self.patch), -(-w // self.patch)
        if shape is not None and shape[0] * shape[1] == n_q:
            return shape
        while h * w > n_q:
            h, w = -(-h // 2), -(-w // 2)
        return (h, w) if h * w == n_q else None

    def cells(self, n_q: int) -> tuple[int, int]:
        """The grid (h, w) of a call with n_q queries.

        Raises ValueError if no level of a UNet's latent has that many tokens.
        """
        grid = self.grid(n_q)
        if grid is None:
            h, w = self.latent
            raise ValueError(f"The attention has {n_q} image tokens, which is no level of a {w}x{h} latent.")
        return grid

    def level(self, grid: tuple[int, int], block: tuple | None = None) -> int:
        """Latent height / height of this grid: the patch, or a power of two for a UNet.

        block: ComfyUI's name of a UNet's block, whose own level wins.
        """
        if self.patch is not None:
            return self.patch
        if block is not None and block in self.blocks:
            return self.blocks[block]
        level, h = 1, self.latent[0]
        while h > grid[0]:
            level, h = level * 2, -(-h // 2)
        return level
