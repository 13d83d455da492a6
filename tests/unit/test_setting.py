"""A field of a recipe that is a setting is overridden, checked and reported by what stands beside it,
and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from gsn_ops.optimise.guidance import Guide, StepSize
from gsn_ops.optimise.methods import METHODS, preset
from gsn_ops.optimise.overrides import check, keys_of, override
from gsn_ops.optimise.recipe import Recipe
from gsn_ops.optimise.refine import Refine
from gsn_ops.optimise.setting import Setting, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Patient(Refine):
    """A recipe with one more field, as another pack or a later version has it."""

    patience: int = setting(3, at_least=1, at_most=9, cure="choose 1 to 9")


def test_a_new_field_is_one_edit():
    recipe = Patient()
    assert "patience" in keys_of(recipe) and "patience" not in keys_of(Refine())
    (changed,) = override((recipe,), "patience=5, shifts=2")
    assert (changed.patience, changed.shifts, type(changed)) == (5, 2, Patient)
    with pytest.raises(ValueError, match="patience wants a whole number, not 'many'"):
        override((recipe,), "patience=many")
    with pytest.raises(ValueError, match="^patience is 10: choose 1 to 9.$"):
        check(replace(recipe, patience=10))
    assert {s.key: s.get(changed) for s in settings_of(changed)}["patience"] == 5


@pytest.mark.parametrize(
    "limits, allowed, refused",
    [
        ({"at_least": 0}, (0, 0.5, float("inf")), (-1, float("nan"))),
        ({"more_than": 0}, (1e-9, float("inf")), (0, -1, float("nan"))),
        ({"more_than": 0, "finite": True}, (1e-9,), (0, float("inf"), float("nan"))),
        ({"at_least": 0, "at_most": 1}, (0, 0.5, 1), (-0.1, 1.1, float("nan"))),
        ({"choices": ("full", "auto")}, ("full", "auto"), ("", "half")),
        ({}, (float("nan"), -1, "anything"), ()),
    ],
)
def test_limits(limits, allowed, refused):
    found = Setting(**limits)
    assert all(found.allows(value) for value in allowed) and not any(found.allows(v) for v in refused)


def test_a_setting_of_a_part_has_its_own_key():
    guide = Guide(step_size=StepSize(20.0, function="constant"))
    (changed,) = override((guide,), "scale_factor=3")
    assert changed == replace(guide, step_size=StepSize(3.0, function="constant"))
    with pytest.raises(ValueError, match="^scale_factor is -1: choose 0"):
        check(Guide(step_size=StepSize(-1.0)))


@pytest.mark.parametrize("method", METHODS)
def test_settings_of_every_method_allow_their_published_values_and_name_a_cure(method):
    for recipe in preset(method):
        assert isinstance(recipe, Recipe) and check(recipe) is recipe
        for bound in settings_of(recipe):
            assert bound.setting.cure or not bound.setting.overridable
            assert isinstance(bound.get(recipe), bound.kind | int)
            assert bound.put(recipe, bound.get(recipe)) == recipe
