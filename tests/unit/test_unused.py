"""M1: what a method cannot use is a remark, so that a switch of method is never an error."""

import pytest

from gsn_ops.optimise.gradient_free import edit_of
from gsn_ops.optimise.methods import METHODS, methods, preset
from gsn_ops.optimise.overrides import moved, only_needed, override
from gsn_ops.optimise.unused import Asked, used
from gsn_ops.schedule import Moment

SYNGEN = "SynGen (Rassin et al. 2023)"
EVERYTHING = "shifts=30, pieces=noun, scale_factor=3, rounds=2, gain=4, w=0.1, levels=auto"


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("moment", (Moment(percent=0.1), Moment(sigma=3.0), Moment(step=2)))
def test_m1_every_method_takes_the_settings_of_every_other(method, moment):
    asked, remarks = used(method, Asked(moment, True, EVERYTHING))
    if edit_of(method, asked.overrides, asked.moment) is None:
        recipes = override(preset(method), asked.overrides)
        assert only_needed(moved(recipes, asked.moment), asked.only_if_needed)
    assert remarks and all(remark.line == remark for remark in remarks)


@pytest.mark.parametrize(
    "asked, names",
    (
        (Asked(Moment(percent=0.18), False, ""), ["at_percent"]),
        (Asked(Moment(sigma=4.0), False, ""), ["at_sigma"]),
        (Asked(Moment(step=3), True, "shifts=20, scale_factor=5"), ["at_step", "only_if_needed", "shifts"]),
        (Asked(None, False, "scale_factor=5"), []),
    ),
)
def test_m1_what_was_left_out_is_named(asked, names):
    left, remarks = used(SYNGEN, asked)
    verb = "is" if len(names) == 1 else "are"
    said = (f"{', '.join(names)} {verb} not used by this method",)
    assert remarks == (said if names else ())
    assert left.moment is None and not left.only_if_needed and "shifts" not in left.overrides


def test_m1_a_key_that_no_method_has_is_still_refused_at_its_place():
    asked, remarks = used(SYNGEN, Asked(None, False, "shifts=20, shfits=3"))
    assert remarks == ("shifts is not used by this method",)
    with pytest.raises(ValueError, match="character 12: there is no setting 'shfits'"):
        override(preset(SYNGEN), asked.overrides)


def test_m1_what_the_method_uses_stays_as_it_is():
    asked = Asked(Moment(percent=0.1), True, "shifts=20, pieces=phrase")
    assert used(METHODS[0], asked) == (asked, ())


def test_a_moment_that_no_run_has_is_refused_for_every_method():
    with pytest.raises(ValueError, match="at_percent is 3"):
        used(SYNGEN, Asked(Moment(percent=3.0), False, ""))
    with pytest.raises(ValueError, match="Unknown method 'none'"):
        used("none", Asked(None, False, ""))
