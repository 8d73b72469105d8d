"""The WOE scorecard: the logistic regression on binned features that every credit department knows, as challenger.

Each feature is cut into bins (monotone in its sign), each bin becomes its weight of evidence, and a logistic
regression weighs the features, none of them against its own evidence. So the pd moves with every signed feature in
the direction of its sign, or not at all. Source: Siddiqi 2006, Credit risk scorecards.
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
# Half of this times the squared weights is added to the loss: what scikit-learn calls C = 1. It matters only where
# there are very few rows; there it keeps weights finite.
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A feature of the scorecard.

    Attributes:
        bins: Numbers or categories.
        woes: ln(%good / %bad) of every bin, in the order of the codes; 0 for a bin that development did not fill,
            such as that of missing values where none was missing.
        weight: 0 and up; log-odds of bad that one unit of WOE takes away.
    """

    bins: Bins
    woes: tuple[float, ...]
    weight: float

    def woe(self, values: Values) -> Values:
        """Give the WOE of every value: shape (n,)."""
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
        """Give the probability of the bad outcome.

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
        signs: Of every feature: 1 riskier with a higher value, -1 safer, 0 not said. Categories have 0.
        categories: Places of the category features. Levels with less than 5 % of the rows share a bin, which levels
            that are first seen later fall into, too.
        bins_max: Of a number; at least 1.

    Raises:
        DataInvalid: Shapes or signs that do not fit, only one outcome, or weights that cannot be found.
    """
    check_matching(labels, np.zeros(len(rows)))
    check_both_outcomes(labels)
    if rows.ndim != 2 or len(signs) != rows.shape[1] or not set(signs) <= {-1, 0, 1} or bins_max < 1:  # noqa: PLR2004
        raise DataInvalid(
            f"rows of shape {rows.shape}, signs {tuple(signs)}, {bins_max} bins; one sign for each column"
        )
    if np.isinf(rows).any():
        raise DataInvalid("a value is infinite; leave it missing where it is not known")
    if wrong := [place for place in categories if not 0 <= place < len(signs) or signs[place]]:
        raise DataInvalid(f"category features without a column or with a sign: {wrong}")
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
    """Give each level with enough rows its own bin."""
    levels, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    return level_bins(levels[counts >= BIN_SHARE_MIN * len(codes)].tolist())


def _characteristic(bins: Bins, values: Values, labels: Labels) -> Characteristic:
    """Weigh the evidence of every bin."""
    codes = bins.codes(values)
    goods = np.bincount(codes[labels == 0], minlength=len(bins.names))
    bads = np.bincount(codes[labels == 1], minlength=len(bins.names))
    return Characteristic(bins, tuple(weights_of_evidence(goods, bads).tolist()), 1.0)


def _non_negative_logistic(features: NDArray[np.float64], labels: Labels) -> tuple[float, list[float]]:
    """Fit intercept and weights, no weight below 0, by penalised maximum likelihood.

    The loss is convex and so are the bounds: there is one minimum, and a weight that would be negative is 0 in it.

    Args:
        features: Shape (n, features).
        labels: Shape (n,).

    Raises:
        DataInvalid: The minimum was not found.
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
        raise DataInvalid(f"the scorecard's weights were not found: {found.message}")
    return float(found.x[0]), found.x[1:].tolist()
