"""Where text and image are in the attention of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionLayout:
    """Where text and image are in the attention of one forward pass.

    kind: "cross" (keys are text) or "joint" (the image is among the keys). latent: (h, w) of the model's
    input. n_text: text tokens in the attention. n_keys: keys of a text-to-image call. first_column: key
    position of row 0 of the conditioning. first_image: key position of the first image token (joint; queries
    are the last of the keys, or all). patch: latent cells per token and side; None = a UNet, whose calls have
    the grid of any level and, where the image is among the keys, begin with it (first_column then counts from
    the end of the image).
    """

    kind: str
    latent: tuple[int, int]
    n_text: int
    n_keys: int
    first_column: int = 0
    first_image: int = 0
    patch: int | None = None

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

    def is_self_attention(self, n_q: int, n_k: int) -> bool:
        """Is a call with these lengths self-attention of the whole image? Never in joint attention."""
        if self.kind == "joint" or n_q != n_k:
            return False
        h, w = self.cells(n_q)
        return n_q == h * w

    def rows(self, n_q: int) -> slice:
        """The image's queries in a text-to-image call."""
        h, w = self.cells(n_q)
        return slice(self._first_row(n_q), self._first_row(n_q) + h * w)

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

    def cells(self, n_q: int) -> tuple[int, int]:
        """The grid (h, w) of a call with n_q queries.

        Raises ValueError if no level of a UNet's latent has that many tokens.
        """
        h, w = self.latent
        if self.patch is not None:
            return -(-h // self.patch), -(-w // self.patch)
        while h * w > n_q:
            h, w = -(-h // 2), -(-w // 2)
        if h * w != n_q:
            h0, w0 = self.latent
            raise ValueError(
                f"The attention has {n_q} image tokens, which is no level of a {w0}x{h0} latent. A node that "
                "merges or tiles tokens (HyperTile, Token Merging) is in the way: remove it or bypass it."
            )
        return h, w

    def level(self, n_q: int) -> int:
        """Latent height / grid height: the patch, or a power of two for a UNet."""
        if self.patch is not None:
            return self.patch
        level, h = 1, self.latent[0]
        while h > self.cells(n_q)[0]:
            level, h = level * 2, -(-h // 2)
        return level
