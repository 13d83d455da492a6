"""Intervals and tests against published and hand-made values."""

import pytest

from tools.study.paired_statistics import Comparison, compare, mcnemar, percent, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_table(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_stays_between_0_and_1():
    low, high = wilson(7, 7)
    assert high == 1.0 and low == pytest.approx(1 - wilson(0, 7)[1])


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_what_is_not_a_share(hits, n):
    with pytest.raises(ValueError, match="not a share"):
        wilson(hits, n)


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 2 / 64),  # both tails of six coins that fall alike
        (9, 1, 2 * 11 / 1024),
        (1, 9, 2 * 11 / 1024),
        (25, 5, 2 * (1 + 30 + 435 + 4060 + 27405 + 142506) / 2**30),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(fixed, broken, p):
    assert mcnemar(fixed, broken) == pytest.approx(p, rel=1e-12)


def test_mcnemar_of_many_pairs_does_not_overflow():
    assert 0 < mcnemar(1500, 1200) < 1e-7


def test_compare_counts_every_kind_of_pair():
    result = compare([(False, True)] * 5 + [(True, False)] * 2 + [(True, True)] * 3)
    assert result == Comparison(n=10, plain=5, refined=8, fixed=5, broken=2)
    assert result.points == pytest.approx(30) and result.p == mcnemar(5, 2)


def test_a_share_in_words():
    assert percent(129, 200) == "64.5 % (57.7 to 70.8)"
