"""The WOE scorecard equals regressions of scikit-learn, and its pd is monotone when a feature is swept."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training.errors import DataInvalid
from training.measures.monotone_binning import monotone_bins
from training.measures.scorecard import WoeScorecard, fit_scorecard

SIGNS = (1, -1, 0, 0)


def make_sample(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return generated rows and labels.

    The features are a number that raises the risk, a number that lowers the risk, a number whose middle values have the
    lowest risk, and a category. One tenth of the values are missing.
    """
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, 4))
    rows[:, 3] = generator.integers(0, 3, size=count)
    log_odds = (
        -1.5
        + rows[:, 0]
        - 0.7 * rows[:, 1]
        + 0.5 * rows[:, 2] ** 2
        + np.array([0.0, 1.0, -1.0])[rows[:, 3].astype(int)]
    )
    labels = (generator.random(count) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
    rows[generator.random((count, 4)) < 0.1] = np.nan
    return rows, labels


ROWS, LABELS = make_sample(3000, 0)
CARD = fit_scorecard(ROWS, LABELS, SIGNS, categories=[3])


def woes_of(card: WoeScorecard, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the WOE of every row and feature."""
    return np.column_stack([one.woe(column) for one, column in zip(card.characteristics, rows.T, strict=True)])


def test_the_scorecard_ranks_new_rows_nearly_as_well_as_the_true_probabilities() -> None:
    rows, labels = make_sample(3000, 1)

    assert roc_auc_score(labels, CARD.pds(rows)) > 0.77
    assert float(np.mean(CARD.pds(ROWS))) == pytest.approx(float(np.mean(LABELS)), abs=1e-4)


def test_the_weights_equal_those_of_scikit_learn_if_none_would_be_negative() -> None:
    other = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(-woes_of(CARD, ROWS), LABELS)

    assert [one.weight for one in CARD.characteristics] == pytest.approx(other.coef_[0].tolist(), abs=1e-4)
    assert CARD.intercept == pytest.approx(float(other.intercept_[0]), abs=1e-4)


def test_a_weight_that_would_be_negative_is_0_and_all_other_weights_are_fitted_without_this_feature() -> None:
    # The second feature is the first feature minus a term that rises with the outcome, plus noise. If only the second
    # feature is fitted, its weight is positive. If both features are fitted, its weight would be negative.
    generator = np.random.default_rng(3)
    first = generator.normal(size=4000)
    labels = (generator.random(4000) < 1 / (1 + np.exp(-2 * first))).astype(np.int64)
    second = first - 0.8 * (labels - 0.5) + 0.3 * generator.normal(size=4000)
    rows = np.column_stack([first, second])

    card = fit_scorecard(rows, labels, (1, 1))

    woes = woes_of(card, rows)
    free = LogisticRegression(C=1.0, max_iter=1000).fit(-woes, labels)
    alone = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(-woes[:, :1], labels)
    assert free.coef_[0, 1] < -0.1
    assert card.characteristics[1].weight == 0.0
    assert card.characteristics[0].weight == pytest.approx(float(alone.coef_[0, 0]), abs=1e-4)


@pytest.mark.parametrize(("place", "sign"), [(0, 1), (1, -1)])
def test_the_pd_never_moves_against_the_sign_of_a_feature_on_a_thousand_rows(place: int, sign: int) -> None:
    rows = ROWS[:1000].copy()
    pds = []
    for value in np.linspace(-5, 5, 101):
        rows[:, place] = value
        pds.append(CARD.pds(rows))

    steps = sign * np.diff(np.array(pds), axis=0)

    assert (steps >= 0).all()
    assert (steps > 0).any()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([-1, 1]), st.integers(1, 8), st.floats(-3, 3))
def test_bins_are_monotone_few_enough_and_never_tiny_or_of_one_outcome(
    seed: int, sign: int, bins_max: int, slope: float
) -> None:
    generator = np.random.default_rng(seed)
    values = np.round(generator.normal(size=400), 1)
    labels = (generator.random(400) < 1 / (1 + np.exp(1.5 - slope * values))).astype(np.int64)

    bins = monotone_bins(values, labels, sign, bins_max)

    inside = [labels[bins.codes(values) == code] for code in range(len(bins.edges) + 1)]
    rates = [one.mean() for one in inside]
    assert len(inside) <= bins_max
    assert all(sign * (after - before) > 0 for before, after in pairwise(rates))
    assert len(inside) == 1 or all(len(one) >= 20 and 0 < one.sum() < len(one) for one in inside)


def test_before_small_bins_are_merged_the_pools_are_those_of_isotonic_regression() -> None:
    # Each of the ten values has 200 rows. Therefore no bin is small enough to be merged with its neighbour.
    generator = np.random.default_rng(5)
    values = np.repeat(np.arange(10.0), 200)
    labels = (generator.random(2000) < 0.2 + 0.03 * values + 0.1 * np.sin(3 * values)).astype(np.int64)

    bins = monotone_bins(values, labels, 1, bins_max=20)

    fitted = IsotonicRegression().fit_transform(values, labels)
    codes = bins.codes(values)
    rates = np.array([labels[codes == code].mean() for code in range(len(bins.edges) + 1)])
    assert rates[codes] == pytest.approx(fitted, abs=1e-12)


def test_a_feature_without_a_sign_may_have_the_lowest_risk_in_the_middle_of_its_range() -> None:
    middle = CARD.characteristics[2]

    low, mid, high = middle.woe(np.array([-2.5, 0.0, 2.5]))

    assert mid > low
    assert mid > high
    assert len(middle.bins.names) <= 6 + 1


def test_missing_values_have_evidence_only_if_they_occur_in_the_fit() -> None:
    labels = LABELS.copy()
    labels[np.isnan(ROWS[:, 0])] = 1
    labels[np.flatnonzero(np.isnan(ROWS[:, 0]))[:20]] = 0

    spoken = fit_scorecard(ROWS, labels, SIGNS, categories=[3])
    silent = fit_scorecard(np.nan_to_num(ROWS), LABELS, SIGNS, categories=[3])

    assert spoken.characteristics[0].woe(np.array([np.nan]))[0] < -1
    assert silent.characteristics[0].woe(np.array([np.nan]))[0] == 0.0


def test_rare_levels_share_a_bin_with_levels_that_are_first_seen_later() -> None:
    rows, labels = ROWS.copy(), LABELS.copy()
    rows[:60, 3] = 7.0
    labels[:60] = 1

    card = fit_scorecard(rows, labels, SIGNS, categories=[3])

    rare, later = card.characteristics[3].woe(np.array([7.0, 99.0]))
    assert rare == later < -1
    assert CARD.characteristics[3].woe(np.array([99.0]))[0] == 0.0


def test_the_same_rows_lead_to_the_same_scorecard() -> None:
    assert fit_scorecard(ROWS, LABELS, SIGNS, categories=[3]) == CARD


def test_a_feature_that_is_always_missing_or_constant_does_not_affect_the_pd() -> None:
    rows = np.column_stack([ROWS[:, 0], np.full(3000, np.nan), np.full(3000, 4.0)])

    card = fit_scorecard(rows, LABELS, (1, 1, 0))

    changed = rows.copy()
    changed[:, 1:] = 5.0
    assert card.pds(changed) == pytest.approx(card.pds(rows), abs=1e-9)


@pytest.mark.parametrize(
    ("signs", "categories", "labels"),
    [((1, 1, 1), [], LABELS), ((1, 2, 0, 0), [], LABELS), ((1, 1, 1, 1), [3], LABELS), (SIGNS, [4], LABELS),
     (SIGNS, [], np.zeros(3000, dtype=np.int64)), (SIGNS, [], LABELS[:5])],
    ids=["sign missing", "sign of 2", "signed category", "no such column", "one outcome", "other length"],
)  # fmt: skip
def test_invalid_inputs_are_rejected(signs: tuple[int, ...], categories: list[int], labels: NDArray[np.int64]) -> None:
    with pytest.raises(DataInvalid):
        fit_scorecard(ROWS, labels, signs, categories)


def test_infinite_values_are_rejected() -> None:
    rows = ROWS.copy()
    rows[5, 0] = np.inf

    with pytest.raises(DataInvalid, match="must be finite"):
        fit_scorecard(rows, LABELS, SIGNS, categories=[3])


def test_rows_with_a_different_number_of_columns_are_rejected() -> None:
    with pytest.raises(DataInvalid, match=r"shape \(n, 4\)"):
        CARD.pds(ROWS[:, :3])
