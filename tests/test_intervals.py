"""Paired comparisons, against scipy's tests and against chance."""

import numpy as np
import pytest
from scipy import stats

from normcore.intervals import Interval, paired
from normcore.tables import table


def test_a_difference_and_its_interval_are_those_of_the_paired_t_test():
    rng = np.random.default_rng(7)
    for count in (2, 5, 20):
        a, b = rng.normal(3, 2, count), rng.normal(2, 1, count)
        found, theirs = paired(a, b, level=0.9), stats.ttest_rel(a, b).confidence_interval(0.9)
        assert found.mean == pytest.approx((a - b).mean())
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
        assert (found.count, found.higher) == (count, (a > b).sum())


def test_a_ratio_is_a_difference_of_logarithms():
    rng = np.random.default_rng(8)
    a, b = np.exp(rng.normal(size=(2, 20)))
    found, logs = paired(a, b, ratio=True), paired(np.log(a), np.log(b))
    assert found.mean == pytest.approx(stats.gmean(a / b))
    assert (found.low, found.high) == pytest.approx((np.exp(logs.low), np.exp(logs.high)))
    swapped = paired(b, a, ratio=True)
    assert swapped.low == pytest.approx(1 / found.high) and swapped.higher == 20 - found.higher
    assert paired(10 * a, 10 * b, ratio=True).mean == pytest.approx(found.mean)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(9)
    shared = rng.normal(0, 5, (2000, 20))  # what a pair shares falls out
    first, second = shared + rng.normal(0.3, 1, (2000, 20)), shared + rng.normal(0, 1, (2000, 20))
    found = [paired(a, b) for a, b in zip(first, second, strict=True)]
    assert np.mean([i.low <= 0.3 <= i.high for i in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("first", "second", "ratio", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], False, r"must be \(pairs,\), of two pairs or more; got \(2,\), \(3,\)"),
        ([1.0], [2.0], False, "two pairs or more"),
        ([[1.0, 2.0]], [[1.0, 2.0]], False, "two pairs or more"),
        ([1.0, np.inf], [1.0, 2.0], True, "must be finite: what did not arrive"),
        ([1.0, np.nan], [1.0, 2.0], False, "must be finite"),
        ([1.0, 0.0], [1.0, 2.0], True, "must be positive"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, ratio, message):
    with pytest.raises(ValueError, match=message):
        paired(first, second, ratio)


def test_a_table_shows_the_mean_and_the_interval():
    found = table(
        {"a": ["x"], "times faster": [Interval(1.357, 1.2345, 1.4893, 20, 18)]}, "c", {"times faster": ".2f"}
    )
    assert "1.36 [1.23, 1.49]" in repr(found)
    assert 'data-value="1.357"' in found._repr_html_()
