"""The WOE scorecard: a logistic regression on binned features, the classical credit scorecard, as challenger.

Each feature is binned (monotonically in its sign), each bin is replaced by its weight of evidence, and a logistic
regression weights the features with non-negative weights. So the pd moves with every signed feature in the direction
of its sign, or not at all. Source: Siddiqi 2006, Credit risk scorecards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from training.errors import DataInvalid
from training.measures.bins import Bins, CategoryBins, Values, level_bins
from training.measures.information import weights_of_evidence
from training.measures.inputs import Labels, Pds, check_both_outcomes, check_matching
from training.measures.monotone_binning import BIN_SHARE_MIN, monotone_bins

_BINS_MAX = 6
# Half of this times the squared weights is added to the loss, which is C = 1 in scikit-learn. With few rows it keeps
# weights finite; otherwise it has no effect.
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A feature of the scorecard.

    Attributes:
        bins: Numbers or categories.
        woes: ln(%good / %bad) of every bin, in the order of the codes; 0 for a bin without development rows, such as
            that of missing values if none was missing.
        weight: 0 and up; the decrease of the log-odds of bad per unit of WOE.
    """

    bins: Bins
    woes: tuple[float, ...]
    weight: float

    def woe(self, values: Values) -> Values:
        """Return the WOE of every value: shape (n,)."""
        codes = self.bins.codes(values)
        found: Values = np.array(self.woes)[codes]
        return found


@dataclass(frozen=True, slots=True)
class WoeScorecard:
    """A fitted scorecard: log-odds of bad = intercept - sum of weight * WOE.

    Attributes:
        characteristics: One for each column, in the order of the columns.
    """

    characteristics: tuple[Characteristic, ...]
    intercept: float

    def pds(self, rows: NDArray[np.float64]) -> Pds:
        """Return the probability of the bad outcome.

        Args:
            rows: Shape (n, features), NaN where missing; categories by their code.

        Returns:
            Shape (n,), in (0, 1).

        Raises:
            DataInvalid: The number of columns is not that of the fit.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.characteristics):  # noqa: PLR2004 - rows and columns
            raise DataInvalid(f"rows have shape {rows.shape}; the scorecard has {len(self.characteristics)} features")
        log_odds = np.full(len(rows), self.intercept)
        for column, characteristic in zip(rows.T, self.characteristics, strict=True):
            log_odds -= characteristic.weight * characteristic.woe(column)
        pds: Pds = expit(log_odds)
        return pds


def fit_scorecard(
    rows: NDArray[np.float64],
    labels: Labels,
    signs: Sequence[int],
    categories: Collection[int] = (),
    bins_max: int = _BINS_MAX,
) -> WoeScorecard:
    """Fit a scorecard.

    Args:
        rows: Shape (n, features), NaN where missing; categories by their code.
        labels: Shape (n,); both outcomes.
        signs: Of every feature: 1 if a higher value is riskier, -1 if safer, 0 if unspecified. Categories have 0.
        categories: Positions of the category features. Levels with less than 5 % of the rows share a bin; levels that
            first appear later belong to it, too.
        bins_max: Of a numeric feature, without the bin of missing values; at least 1.

    Raises:
        DataInvalid: Shapes or signs do not fit, there is only one outcome, or the optimisation failed.
    """
    check_matching(labels, np.zeros(len(rows)))
    check_both_outcomes(labels)
    if rows.ndim != 2 or len(signs) != rows.shape[1] or not set(signs) <= {-1, 0, 1} or bins_max < 1:  # noqa: PLR2004
        raise DataInvalid(
            f"rows must have one sign (1, -1 or 0) per column and bins_max at least 1, got shape {rows.shape}, signs "
            f"{tuple(signs)} and bins_max {bins_max}"
        )
    if np.isinf(rows).any():
        raise DataInvalid("values must be finite; use NaN for missing values")
    if wrong := [place for place in categories if not 0 <= place < len(signs) or signs[place]]:
        raise DataInvalid(f"category features must have a column and sign 0; invalid positions: {wrong}")
    bins: list[Bins] = [
        _category_bins(rows[:, place]) if place in categories else monotone_bins(rows[:, place], labels, sign, bins_max)
        for place, sign in enumerate(signs)
    ]
    drafts = [_characteristic(one, rows[:, place], labels) for place, one in enumerate(bins)]
    woes = np.column_stack([draft.woe(rows[:, place]) for place, draft in enumerate(drafts)])
    intercept, weights = _non_negative_logistic(-woes, labels)
    weighted = [Characteristic(d.bins, d.woes, weight) for d, weight in zip(drafts, weights, strict=True)]
    return WoeScorecard(tuple(weighted), intercept)


def _category_bins(codes: Values) -> CategoryBins:
    """Return a bin for each level with enough rows."""
    levels, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    return level_bins(levels[counts >= BIN_SHARE_MIN * len(codes)].tolist())


def _characteristic(bins: Bins, values: Values, labels: Labels) -> Characteristic:
    """Return a feature with the weights of evidence of its bins, and weight 1."""
    codes = bins.codes(values)
    goods = np.bincount(codes[labels == 0], minlength=len(bins.names))
    bads = np.bincount(codes[labels == 1], minlength=len(bins.names))
    return Characteristic(bins, tuple(weights_of_evidence(goods, bads).tolist()), 1.0)


def _non_negative_logistic(features: NDArray[np.float64], labels: Labels) -> tuple[float, list[float]]:
    """Fit an intercept and non-negative weights by penalised maximum likelihood.

    The loss and the bounds are convex, so the minimum is unique; a weight that would be negative is 0 there.

    Args:
        features: Shape (n, features).
        labels: Shape (n,).

    Raises:
        DataInvalid: The optimisation did not converge.
    """
    design = np.column_stack([np.ones(len(labels)), features])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = design @ weights
        fitted = expit(scores)
        shrunk = _RIDGE * np.concatenate([[0.0], weights[1:]])
        value = np.sum(np.logaddexp(0.0, scores) - labels * scores) + shrunk @ weights / 2.0
        return float(value) / len(labels), (design.T @ (fitted - labels) + shrunk) / len(labels)

    bad_rate = float(np.mean(labels))
    start = np.concatenate([[np.log(bad_rate / (1.0 - bad_rate))], np.ones(features.shape[1])])
    bounds = [(None, None), *[(0.0, None)] * features.shape[1]]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    )
    if not found.success:
        raise DataInvalid(f"the weights of the scorecard did not converge: {found.message}")
    return float(found.x[0]), found.x[1:].tolist()
