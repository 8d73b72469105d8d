"""The base of a model: a small additive model whose terms each depend on one feature.

The trees of a model are fitted to what its base leaves unexplained: margin = trees(x) + base(x), where
base(x) = intercept + sum of g_j(x_j). There are two kinds of base:

- "logistic" is a logistic regression on smooth functions of the features: the signed logarithm, and the same with a
  bend at one or two points. A forward selection keeps the few functions that the Bayesian information criterion
  supports.
- "scorecard" is a WOE scorecard (`training.measures.scorecard`).

Each g_j is a step function. A smooth function is evaluated once for each of at most 64 intervals with equally many rows.
Steps are needed for two reasons. ONNX Runtime returns exactly the same doubles as the fit, because it computes no
logarithm. A bundle can replace every value by a representative of its interval, so that no bundle contains the data of a
person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.measures.bins import NumberBins
from training.measures.logistic import fit_logistic
from training.measures.scorecard import Characteristic, fit_scorecard

BaseKind = Literal["logistic", "scorecard"]
BASE_KINDS: tuple[BaseKind, ...] = ("logistic", "scorecard")
_FloatArray = NDArray[np.float64]
_CodeArray = NDArray[np.int64]

_STEPS_MAX = 64  # intervals of a numeric feature of a logistic base
_ROWS_OF_STEP_MIN = 5  # smaller groups of missing values and of levels have no step of their own
_COLUMNS_MAX = 20
_SELECTION_ROWS_MAX = 50_000  # with more rows, functions are selected on evenly spaced rows; weights use all rows
_BENDS = (1 / 3, 2 / 3)  # quantiles of a feature at which its function may bend


@dataclass(frozen=True, slots=True)
class BaseTerm:
    """One term g_j of a base: a step function of one feature.

    Attributes:
        position: Column index of the feature.
        category: Whether the feature is a category.
        edges: For a number, the ascending edges between the steps; a value equal to an edge belongs to the step below.
            For a category, the ascending codes that have a step of their own.
        values: Log-odds of every step. For a number, one more value than edges, and then the value of a missing number.
            For a category, one value for each code, and then the value of all other codes and of a missing level.
        counts: Number of rows of the fit in each step, in the order of `values`.
    """

    position: int
    category: bool
    edges: tuple[float, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]

    def codes(self, column: _FloatArray) -> _CodeArray:
        """Return the index in `values` of each value of the feature: shape (n,)."""
        edges = np.array(self.edges)
        found = np.searchsorted(edges, column, side="left")
        if not self.category:
            return np.where(np.isnan(column), len(edges) + 1, found)
        known = edges[np.minimum(found, len(edges) - 1)] == column
        return np.where(known, found, len(edges))


@dataclass(frozen=True, slots=True)
class Base:
    """A fitted base.

    Attributes:
        kind: The kind of the base.
        intercept: Log-odds that the base adds to every row. The mean of every term over the fit rows is 0.
        terms: The terms, in ascending order of their features; at least one.
    """

    kind: BaseKind
    intercept: float
    terms: tuple[BaseTerm, ...]

    def add_to(self, margins: _FloatArray, rows: _FloatArray) -> _FloatArray:
        """Return margins + intercept + g_1 + g_2 + ..., added in doubles from left to right.

        Args:
            margins: Margins of the trees, shape (n,).
            rows: Shape (n, features), NaN where missing; categories by their code.
        """
        total = margins + self.intercept
        for term in self.terms:
            total = total + np.array(term.values)[term.codes(rows[:, term.position])]
        return total

    def margins(self, rows: _FloatArray) -> _FloatArray:
        """Return the log-odds of the base alone: shape (n,)."""
        return self.add_to(np.zeros(len(rows)), rows)


def fit_base(
    kind: BaseKind,
    rows: _FloatArray,
    labels: NDArray[np.int64],
    signs: Sequence[int],
    categories: Sequence[int],
    weights: _FloatArray | None = None,
) -> Base:
    """Fit a base that satisfies the monotone constraints of the features.

    Args:
        kind: The kind of the base. A scorecard does not support weights.
        rows: Shape (n, features), NaN where missing; categories by their code, below 0 for an unknown level.
        labels: Shape (n,); both outcomes occur.
        signs: Monotone constraint of every feature: 1, -1, or 0 for no constraint.
        categories: Column indices of the category features.
        weights: Weights of the rows, shape (n,); None if every row counts equally.

    Raises:
        DataInvalid: No feature improves on the bad rate, or the base cannot be fitted to these rows.
    """
    known = rows.copy()
    for position in categories:
        known[:, position] = np.where(known[:, position] < 0, np.nan, known[:, position])
    if kind == "scorecard":
        intercept, terms = _scorecard_terms(known, labels, signs, categories)
    else:
        intercept, terms = _logistic_terms(known, labels, signs, categories, weights)
    used = [term for term in terms if len(set(term.values)) > 1]
    if not used:
        raise DataInvalid(f"a base of kind {kind!r} has no feature that improves on the bad rate")
    centred = [_centre_term(term) for term in used]
    shift = sum(mean for _, mean in centred)
    unused = sum(term.values[0] for term in terms if len(set(term.values)) == 1)
    return Base(kind, intercept + unused + shift, tuple(term for term, _ in centred))


def _centre_term(term: BaseTerm) -> tuple[BaseTerm, float]:
    """Return a term whose mean over the fit rows is 0, and the mean that was subtracted."""
    mean = float(np.average(term.values, weights=term.counts))
    values = tuple(value - mean for value in term.values)
    return BaseTerm(term.position, term.category, term.edges, values, term.counts), mean


def _scorecard_terms(
    rows: _FloatArray, labels: NDArray[np.int64], signs: Sequence[int], categories: Sequence[int]
) -> tuple[float, list[BaseTerm]]:
    """Fit a WOE scorecard, and return its intercept and its terms."""
    fitted = fit_scorecard(rows, labels, signs, categories)
    terms = []
    for position, characteristic in enumerate(fitted.characteristics):
        if characteristic.weight > 0.0:
            terms += _scorecard_term(position, characteristic, rows[:, position])
    return fitted.intercept, terms


def _scorecard_term(position: int, characteristic: Characteristic, column: _FloatArray) -> list[BaseTerm]:
    """Return the term of a characteristic; none if all its rows are in one bin."""
    bins = characteristic.bins
    values = -characteristic.weight * np.array(characteristic.woes)
    counts = np.bincount(bins.codes(column), minlength=len(values))
    if isinstance(bins, NumberBins):
        return _make_terms(position, np.array(bins.edges), values, counts, category=False)
    # The trees cannot tell an unknown level from a missing one, so both have the mean of the two values.
    rest = float(np.average(values[-2:], weights=counts[-2:])) if counts[-2:].any() else 0.0
    levels = np.array(bins.levels, dtype=np.float64)
    order = np.argsort(levels)
    values = np.append(values[:-2][order], rest)
    counts = np.append(counts[:-2][order], counts[-2:].sum())
    return _make_terms(position, levels[order], values, counts, category=True)


def _make_terms(
    position: int, edges: _FloatArray, values: _FloatArray, counts: _CodeArray, *, category: bool
) -> list[BaseTerm]:
    """Return the term of a feature, as a list that is empty if the feature has one step only.

    If no fit row has a missing value (or an unlisted level), such a value later gets the step nearest to the mean.
    """
    if not len(edges):
        return []
    if not counts[-1]:
        present = values[:-1]
        nearest = np.argmin(np.abs(present - np.average(present, weights=counts[:-1])))
        values = np.append(present, present[nearest])
    return [
        BaseTerm(
            position=position,
            category=category,
            edges=tuple(edges.tolist()),
            values=tuple(values.tolist()),
            counts=tuple(counts.tolist()),
        )
    ]


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of one feature that a logistic base may use.

    Attributes:
        position: Column index of the feature.
        values: Value of the function for each step of the feature. The function never falls if `bounded` is true, after
            it has been multiplied by the sign of the feature.
        bounded: Whether the weight of the function must not be negative.
    """

    position: int
    values: _FloatArray
    bounded: bool


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of one feature, before their values are known."""

    category: bool
    edges: _FloatArray
    codes: _CodeArray
    counts: _CodeArray


def _logistic_terms(
    rows: _FloatArray,
    labels: NDArray[np.int64],
    signs: Sequence[int],
    categories: Sequence[int],
    weights: _FloatArray | None,
) -> tuple[float, list[BaseTerm]]:
    """Fit a logistic base, and return its intercept and its terms."""
    steps, functions = {}, []
    for position, sign in enumerate(signs):
        found = _category_steps(rows[:, position]) if position in categories else _number_steps(rows[:, position])
        if found is None:
            continue
        steps[position] = found
        functions += (
            _level_functions(position, found)
            if position in categories
            else _number_functions(position, found, rows[:, position], sign)
        )
    intercept, chosen = _select_functions(functions, steps, labels, weights)
    values: dict[int, _FloatArray] = {}
    for function, weight in chosen:
        values[function.position] = values.get(function.position, 0.0) + weight * function.values
    terms = []
    for position in sorted(values):
        found = steps[position]
        terms += _make_terms(position, found.edges, values[position], found.counts, category=found.category)
    return intercept, terms


def _number_steps(column: _FloatArray) -> _Steps | None:
    """Return intervals with equally many rows; None if all present values are equal."""
    present = np.sort(column[np.isfinite(column)])
    if not len(present) or present[0] == present[-1]:
        return None
    distinct = np.unique(present)
    if len(distinct) > _STEPS_MAX:
        tops = np.quantile(present, np.arange(1, _STEPS_MAX) / _STEPS_MAX, method="inverted_cdf")
    else:
        tops = distinct[:-1]
    below = np.unique(np.searchsorted(distinct, tops[tops < distinct[-1]]))
    # An edge lies halfway between two values of the fit rows, so that the edge itself is nobody's value.
    edges = np.unique(distinct[below] + (distinct[below + 1] - distinct[below]) / 2.0)
    if not len(edges):
        return None
    codes = np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="left"))
    counts = np.bincount(codes, minlength=len(edges) + 2)
    return _Steps(category=False, edges=edges, codes=codes, counts=counts)


def _category_steps(column: _FloatArray) -> _Steps | None:
    """Return one step for each level with enough rows; None if there is no such level."""
    levels, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    levels = levels[counts >= _ROWS_OF_STEP_MIN]
    if not len(levels):
        return None
    found = np.minimum(np.searchsorted(levels, column), len(levels) - 1)
    codes = np.where(levels[found] == column, found, len(levels))
    counts = np.bincount(codes, minlength=len(levels) + 1)
    return _Steps(category=True, edges=levels, codes=codes, counts=counts)


def _level_functions(position: int, steps: _Steps) -> list[_Function]:
    """Return one indicator function for each level that has a step."""
    indicators = np.eye(len(steps.counts))
    return [_Function(position, indicators[code], bounded=False) for code in range(len(steps.counts) - 1)]


def _number_functions(position: int, steps: _Steps, column: _FloatArray, sign: int) -> list[_Function]:
    """Return the functions of a number: its signed logarithm, bends of the logarithm, and whether it is missing."""
    order = np.argsort(column, kind="stable")  # missing values are last
    middles = np.cumsum(steps.counts[:-1]) - (steps.counts[:-1] + 1) // 2
    medians = column[order][middles]  # the lower median of each step; a step has at least one row
    curve = np.sign(medians) * np.log1p(np.abs(medians))
    counts = steps.counts[:-1]
    curve = (curve - np.average(curve, weights=counts)) / max(_deviation(curve, counts), 1e-12)
    shares = np.cumsum(counts) / counts.sum()
    bends = [np.maximum(0.0, curve - curve[int(np.searchsorted(shares, share))]) for share in _BENDS]
    direction = float(sign) if sign else 1.0
    functions = [
        # A missing value has the mean of the function, so that it moves the margin only by its own indicator.
        _Function(position, direction * np.append(one, np.average(one, weights=counts)), bounded=bool(sign))
        for one in (curve, *bends)
        if _deviation(one, counts) > 0.0
    ]
    if steps.counts[-1] >= _ROWS_OF_STEP_MIN:
        functions.append(_Function(position, np.eye(len(steps.counts))[-1], bounded=False))
    return functions


def _deviation(values: _FloatArray, counts: _CodeArray) -> float:
    """Return the standard deviation of the values of steps over the rows of the fit."""
    mean = np.average(values, weights=counts)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))


def _select_functions(
    functions: Sequence[_Function],
    steps: dict[int, _Steps],
    labels: NDArray[np.int64],
    weights: _FloatArray | None,
) -> tuple[float, list[tuple[_Function, float]]]:
    """Select functions one after the other, and return the intercept and the selected functions with their weights.

    Each round adds the function with the largest score statistic, which estimates by how much the function increases
    the log-likelihood. The selection ends when a function increases it by less than log(n) / 2, the Bayesian
    information criterion.
    """
    stride = max(1, -(-len(labels) // _SELECTION_ROWS_MAX))
    sample = slice(None, None, stride)
    if len(set(labels[sample].tolist())) == 1:
        raise DataInvalid("a base of kind 'logistic' requires rows with both outcomes")
    candidates = [(function, function.values[steps[function.position].codes[sample]]) for function in functions]
    known, importance = labels[sample], None if weights is None else weights[sample]
    rates = np.full(len(known), np.average(known, weights=importance))
    chosen: list[int] = []
    best = _log_likelihood(known, rates, importance)
    while candidates and len(chosen) < _COLUMNS_MAX:
        index = _strongest(candidates, chosen, known - rates, rates * (1.0 - rates), importance)
        if index is None:
            break
        design = np.column_stack([candidates[one][1] for one in (*chosen, index)])
        bounded = np.array([functions[one].bounded for one in (*chosen, index)])
        intercept, found = fit_logistic(design, known, bounded, importance)
        rates = 1.0 / (1.0 + np.exp(-(intercept + np.einsum("ij,j->i", design, found, optimize=False))))
        likelihood = _log_likelihood(known, rates, importance)
        if likelihood - best < np.log(len(known)) / 2.0:
            break
        best, chosen = likelihood, [*chosen, index]
    if not chosen:
        raise DataInvalid("a base of kind 'logistic' has no feature that improves on the bad rate")
    selected = [functions[index] for index in chosen]
    design = np.column_stack([function.values[steps[function.position].codes] for function in selected])
    intercept, found = fit_logistic(design, labels, np.array([one.bounded for one in selected]), weights)
    return intercept, list(zip(selected, found.tolist(), strict=True))


def _strongest(
    candidates: Sequence[tuple[_Function, _FloatArray]],
    chosen: Sequence[int],
    residuals: _FloatArray,
    variances: _FloatArray,
    importance: _FloatArray | None,
) -> int | None:
    """Return the index of the function with the largest score statistic among those not chosen yet; None if none is left."""
    weighted = residuals if importance is None else residuals * importance
    spread = variances if importance is None else variances * importance
    best, index = 0.0, None
    for number, (function, values) in enumerate(candidates):
        if number in chosen:
            continue
        centred = values - np.sum(spread * values) / np.sum(spread)
        slope, curvature = float(np.sum(weighted * centred)), float(np.sum(spread * centred * centred))
        if curvature <= 0.0 or (function.bounded and slope <= 0.0):
            continue
        statistic = slope * slope / curvature
        if statistic > best:
            best, index = statistic, number
    return index


def _log_likelihood(labels: NDArray[np.int64], rates: _FloatArray, importance: _FloatArray | None) -> float:
    """Return the log-likelihood of labels; weights are scaled to a mean of 1."""
    each = np.where(labels == 1, np.log(rates), np.log1p(-rates))
    return float(np.sum(each)) if importance is None else float(np.sum(each * importance) / np.mean(importance))
