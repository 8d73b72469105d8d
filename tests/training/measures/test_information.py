"""Weights of evidence and information values equal values computed by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.bins import CategoryBins, NumberBins
from training.measures.information import information_value

BINS = NumberBins((0.5,))


def rows(*cells: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return codes and labels with the given numbers of goods and bads in each bin."""
    codes = [code for code, (goods, bads) in enumerate(cells) for _ in range(goods + bads)]
    labels = [label for goods, bads in cells for label in [0] * goods + [1] * bads]
    return np.array(codes), np.array(labels)


def test_the_woe_of_a_bin_that_is_safer_than_average_is_above_0() -> None:
    codes, labels = rows((80, 5), (20, 15))

    found = information_value(codes, labels, BINS)

    assert found.bins[0].woe == pytest.approx(math.log(0.8 / 0.25))
    assert found.bins[1].woe == pytest.approx(math.log(0.2 / 0.75))
    assert found.iv == pytest.approx((0.8 - 0.25) * math.log(0.8 / 0.25) + (0.2 - 0.75) * math.log(0.2 / 0.75))
    assert (found.bins[0].rows, found.bins[0].goods, found.bins[0].bads) == (85, 80, 5)


def test_in_a_bin_without_bads_half_a_row_is_added_to_both_counts() -> None:
    codes, labels = rows((40, 0), (60, 20))

    found = information_value(codes, labels, BINS)

    assert found.bins[0].woe == pytest.approx(math.log((40.5 / 100) / (0.5 / 20)))
    assert found.bins[1].woe == pytest.approx(math.log(0.6 / 1.0))


def test_missing_values_have_their_own_bin_and_an_empty_bin_has_no_evidence() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])

    found = information_value(BINS.codes(np.array([0.0, 0.1, 0.2, np.nan, np.nan, np.nan])), labels, BINS)

    assert [(one.bin, one.rows) for one in found.bins] == [("(-inf, 0.5]", 3), ("(0.5, inf)", 0), ("missing", 3)]
    assert (found.bins[1].woe, found.bins[1].iv) == (0.0, 0.0)
    assert found.bins[2].woe == pytest.approx(math.log((1 / 3) / (2 / 3)))


def test_an_uninformative_feature_has_no_information_value() -> None:
    assert information_value(*rows((30, 10), (60, 20)), BINS).iv == pytest.approx(0.0, abs=1e-12)


def test_an_iv_above_one_half_is_suspected_to_be_target_leakage() -> None:
    honest = information_value(*rows((60, 8), (40, 12)), BINS)
    leaking = information_value(*rows((97, 2), (3, 18)), BINS)

    assert 0.1 < honest.iv < 0.5 < leaking.iv
    assert (honest.leak_suspected, leaking.leak_suspected) == (False, True)


def test_the_evidence_of_each_category_is_found_by_its_name() -> None:
    bins = CategoryBins(("bar", "inn"))
    labels = np.array([0, 0, 1, 0, 1, 1])

    found = information_value(bins.codes(["bar", "bar", "bar", "inn", "inn", "ship"]), labels, bins)

    assert {one.bin: (one.goods, one.bads) for one in found.bins} == {
        "bar": (2, 1),
        "inn": (1, 1),
        "other": (0, 1),
        "missing": (0, 0),
    }


def test_labels_with_one_outcome_and_codes_of_another_length_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="both outcomes"):
        information_value(np.array([0, 1]), np.array([0, 0]), BINS)
    with pytest.raises(DataInvalid, match="shape"):
        information_value(np.array([0, 1, 1]), np.array([0, 1]), BINS)
