"""Probes of several conditioning entries that are active at one state, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.samplers
from torch import Tensor

from ...joint_prompts import Place, first_columns, join_maps
from ...maps import AttentionMaps
from .probe import Probe


class JointProbe:
    """Maps of several entries at one noise level, one forward pass each.

    Settings are given to every probe; what is asked for and not defined here is the first one's.
    """

    probes: Sequence[Probe]

    def __init__(self, probes: Sequence[Probe]):
        self.__dict__["probes"] = tuple(probes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.probes[0], name)

    def __setattr__(self, name: str, value: Any) -> None:
        for probe in self.probes:
            setattr(probe, name, value)

    @property
    def forwards(self) -> int:
        """Forward passes of all probes."""
        return sum(probe.forwards for probe in self.probes)

    @property
    def cut_override(self) -> bool:
        """Whether another pack's override returned a tensor without gradient in any pass."""
        return any(probe.cut_override for probe in self.probes)

    def maps_of(self, z: Tensor) -> AttentionMaps:
        """Joint maps with gradients at z [B, ...], the network's input."""
        return self._joined([probe.maps_of(z) for probe in self.probes], z)

    def evaluate(self, x: Tensor) -> tuple[AttentionMaps, Tensor]:
        """Joint maps, and the mean of the predicted x0 [B, ...] of all entries, which is for show."""
        maps, predicted = zip(*(probe.evaluate(x) for probe in self.probes))
        return self._joined(maps, x), sum(predicted[1:], predicted[0]) / len(predicted)

    def _joined(self, maps: Sequence[AttentionMaps], x: Tensor) -> AttentionMaps:
        starts = first_columns([probe.entry.tokens for probe in self.probes])
        h, w = x.shape[-2:]
        return join_maps(maps, starts, [_place(probe, x) for probe in self.probes], (h, w))


AnyProbe = Probe | JointProbe


def _place(probe: Probe, x: Tensor) -> Place | None:
    """Where this entry is painted: its area in cells of the latent, None = everywhere."""
    cond = probe.guider.conds[probe.entry.name][probe.entry.index]
    area = comfy.samplers.get_area_and_mult(cond, x, probe.sigma).area  # sizes of all axes, then offsets
    if area is None:
        return None
    n = len(area) // 2
    (h, w), (top, left) = area[n - 2 : n], area[2 * n - 2 :]
    return h, w, top, left
