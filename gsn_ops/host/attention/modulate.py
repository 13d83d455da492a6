"""Changes text-to-image attention in ordinary forward passes: the other use of ComfyUI's attention override.

`capture` reads; this acts, with the same facts about where text and image are. Everything that is not to be
changed (other prompts of the batch, the text's queries, calls without text) is computed by the call as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...attention_layout import AttentionLayout
from ...modulate.word_weights import weighted_output, weighted_probabilities
from ...torch_ops.transfer import onto
from .attention_call import ALL, AttentionCall
from .capture import Capture
from .edited_prompt import EditedPrompt, KeyFactors, combined, image_rows, stacked
from .paired import PairEdit, edited_cross, edited_joint, follows_self, with_followed_image


@dataclass
class Tally:
    """What the passes of a run have seen: changed calls, and lengths (queries, keys) of all others."""

    calls: int = 0
    passes: int = 0
    lengths: set[tuple[int, int]] = field(default_factory=set)
    misfits: int = 0


@dataclass(frozen=True)
class _Change:
    """Some queries of one prompt and the factors of their keys. of_image: they are the image's."""

    rows: slice
    factors: KeyFactors
    of_image: bool


OnProbabilities = Callable[[int, AttentionLayout, list[int], Tensor, Tensor], None]
"""on_probabilities(prompt's number, layout, columns, p, p after): [b, H, image tokens, columns] of a call."""


class Modulation:
    """The override of one forward pass of several prompts.

    prompts: of the batch, in its order; each has the same number of images. previous: another pack's
    override, which stays in force. capture: our own reading of the same pass, which calls this; it counts.
    appended: how many of the text's last keys are of another prompt; the prompts that change them see them.
    """

    def __init__(
        self,
        prompts: Sequence[EditedPrompt],
        tally: Tally,
        previous: Callable | None = None,
        capture: Capture | None = None,
        on_probabilities: OnProbabilities | None = None,
        appended: int = 0,
    ):
        self.prompts = prompts
        self.appended = appended
        self.tally = tally
        self.previous = previous
        self.capture = capture
        self.on_probabilities = on_probabilities
        self._calls: dict[tuple, int] = {}
        self._n_text_to_image = 0

    @torch.compiler.disable
    def __call__(self, func, q, k, v, heads, mask=None, *args, **kwargs):
        """ComfyUI's attention call: the result of `func`, changed where this is text-to-image attention."""
        if self.previous is not None:
            func = functools.partial(self.previous, func)
        call = AttentionCall(func, q, k, v, heads, mask, args, kwargs)
        number = self._text_to_image(call)
        if not self._fits(call):  # another pack has changed the number of images in the batch
            self.tally.misfits += number is not None
            return call.run()
        self._look(call)
        if number is None:
            return self._with_followed_self(call).run()
        return self._with_pairs(call, number)

    def _fits(self, call: AttentionCall) -> bool:
        """Whether the batch of a call is that of the prompts."""
        size, rest = divmod(len(call.q), len(self.prompts))
        factors = (a for prompt in self.prompts for edit in prompt.edits for a in edit.a)
        return not rest and all(len(a) == size for a in factors if isinstance(a, Tensor))

    def _look(self, call: AttentionCall) -> None:
        """Let the prompts that are read see their part of a call."""
        size = len(call.q) // len(self.prompts)
        for n, prompt in enumerate(self.prompts):
            for look in prompt.looks:
                look.observe(call.part(slice(n * size, (n + 1) * size)))

    def _parts(self, call: AttentionCall) -> list[tuple[EditedPrompt, PairEdit, slice]]:
        """The prompts whose images are pairs, and their part of the batch."""
        size = len(call.q) // len(self.prompts)
        parts = []
        for n, prompt in enumerate(self.prompts):
            if prompt.pair is not None:
                parts.append((prompt, prompt.pair, slice(n * size, (n + 1) * size)))
        return parts

    def _with_followed_self(self, call: AttentionCall) -> AttentionCall:
        """Self-attention of the image in which the target of a pair follows its source."""
        everything = slice(0, call.lengths[0])
        for prompt, edit, batch in self._parts(call):
            if follows_self(edit, prompt.layout, call):
                self.tally.calls += 1
                call = with_followed_image(call, batch, everything, everything)
        return call

    def _with_pairs(self, call: AttentionCall, number: int) -> Tensor:
        """The result of a text-to-image call, in which the targets of pairs are made from their sources."""
        parts = self._parts(call)
        n_q = call.lengths[0]
        for prompt, edit, batch in parts:
            if edit.follows and prompt.layout.kind == "joint" and edit.acts_in(number):
                self.tally.calls += 1
                rows = image_rows(prompt.layout, n_q)
                call = with_followed_image(call, batch, rows, prompt.layout.image_keys(n_q))
        out = self._changed(call, number)
        if not any(edit.reads for _, edit, _ in parts):
            return out
        out = out.clone()
        for prompt, edit, batch in parts:
            if prompt.layout.kind == "cross":
                self.tally.calls += edit.maps is not None and edit.acts_in(number)
                edited_cross(call, out, batch, edit, prompt.layout, number)
            elif edit.acts_in(number):
                self.tally.calls += 1
                keys_of = functools.partial(prompt.keys_of, n_q=n_q)
                edited_joint(call, out, batch, edit, prompt.layout, keys_of)
        return out

    def _text_to_image(self, call: AttentionCall) -> int | None:
        """The number of this call among the pass's text-to-image calls, or None if it is none."""
        n_q, n_k = call.lengths
        options = call.kwargs.get("transformer_options") or {}
        label = (options.get("block"), options.get("block_index"))
        if self.capture is None:
            nth = self._calls[label] = self._calls.get(label, -1) + 1
        else:
            nth = self.capture.state.calls.get(label, 0)
        if not self.prompts[0].layout.is_text_to_image(n_q, n_k, nth):
            self.tally.lengths.add((n_q, n_k))
            return None
        self._n_text_to_image += 1
        seen = self._n_text_to_image if self.capture is None else self.capture.state.n_text_to_image
        return seen - 1

    def _changed(self, call: AttentionCall, number: int) -> Tensor:
        """The call's result: prompt by prompt where something changes, the others together as they are."""
        size = len(call.q) // len(self.prompts)
        changes = [self._changes(prompt, call, number) for prompt in self.prompts]
        end = self.prompts[0].layout.n_text
        own = call.without_keys(end - self.appended, end) if self.appended else call
        if not any(changes):
            return own.run()
        self.tally.calls += 1
        base = own.run() if self.appended == 0 and _needs_whole(call, changes) else None
        parts, waiting = [], 0  # first prompt that has not been computed yet
        for n, change in enumerate(changes):
            if not change:
                continue
            if waiting < n:
                parts.append(_as_it_is(own, slice(waiting * size, n * size), ALL, base))
            parts.append(self._changed_prompt(call, n, slice(n * size, (n + 1) * size), change, base))
            waiting = n + 1
        if waiting < len(changes):
            parts.append(_as_it_is(own, slice(waiting * size, len(call.q)), ALL, base))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _changes(self, prompt: EditedPrompt, call: AttentionCall, number: int) -> list[_Change]:
        """The parts of a prompt's queries in order, each with its factors; [] if nothing changes."""
        n_q, _ = call.lengths
        edits = [edit for edit in prompt.edits if edit.blocks is None or number in edit.blocks]
        factors = combined(prompt, edits, n_q)
        if not factors.change:
            return []
        of_text = combined(prompt, [edit for edit in edits if edit.text_rows and edit.gamma == 1], n_q)
        image = image_rows(prompt.layout, n_q)
        parts = ((slice(0, image.start), of_text), (image, factors), (slice(image.stop, n_q), of_text))
        return [_Change(rows, found, rows is image) for rows, found in parts if rows.start < rows.stop]

    def _changed_prompt(
        self, call: AttentionCall, n: int, batch: slice, changes: Sequence[_Change], base: Tensor | None
    ) -> Tensor:
        """The result for one prompt. base: the whole call's own result, if it is known."""
        parts = []
        for change in changes:
            if not change.factors.change:
                parts.append(_as_it_is(call, batch, change.rows, base))
                continue
            out, p, p_after = _weighted(call, batch, change, base)
            parts.append(out)
            if (
                change.of_image
                and p is not None
                and p_after is not None
                and self.on_probabilities is not None
            ):
                self.on_probabilities(n, self.prompts[n].layout, change.factors.columns, p, p_after)
        return torch.cat(parts, call.output_token_dim) if len(parts) > 1 else parts[0]


def _needs_whole(call: AttentionCall, changes: Sequence[Sequence[_Change]]) -> bool:
    """Whether the call must be run as it is, for all of its batch and queries.

    Where the kernel gives no probabilities beside its result; and on the CPU where other prompts are in the
    batch, since there a part of a batch has other rounding than the whole.
    """
    factors = [change.factors for changed in changes for change in changed]
    if not call.takes_wider_values(max(len(found.keys) for found in factors)):
        return True
    if any(found.kept is not None for found in factors):  # images that keep their bits
        return True
    return not (call.q.is_cuda or all(changes))


def _as_it_is(call: AttentionCall, batch: slice, rows: slice, base: Tensor | None) -> Tensor:
    """The unchanged result for a part of the batch and queries, in the call's form."""
    if base is None:
        return call.run(batch, rows)
    return base[batch][:, :, rows] if call.output_token_dim == 2 else base[batch][:, rows]


def _weighted(
    call: AttentionCall, batch: slice, change: _Change, base: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The changed result of some queries in the call's form, and the keys' probabilities before and after."""
    factors = change.factors
    if factors.gamma != 1:
        call, base = call.with_scaled_keys(factors.text, factors.gamma), None
    if not factors.keys:
        return call.run(batch, change.rows), None, None
    kept = factors.kept
    known = None if base is None else _as_it_is(call, batch, change.rows, base)
    if known is None and (kept is not None or not call.takes_wider_values(len(factors.keys))):
        known = call.run(batch, change.rows)
    out, p, values = call.with_probabilities(batch, change.rows, factors.keys, known)
    a, g = stacked(factors.a, p), onto(torch.tensor(factors.g), p)
    changed = call.formed(weighted_output(out, values, p, a, g))
    if known is not None and kept is not None:
        changed = torch.where(kept.view(-1, *[1] * (changed.ndim - 1)), known, changed)
    return changed, p, weighted_probabilities(p, a)
