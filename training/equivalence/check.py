"""Checks that exported files compute LightGBM's margins, and the contributions that the definition requires."""

import hashlib
import math
import resource
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import GateDocument, Scorecard
from models.explained_score import ExplainedScore, build_explained_score
from models.onnx_scorer import Scorer
from models.tolerances import LOG_ODDS_TOLERANCE
from training.equivalence.counterexample import Counterexample, locate_divergence
from training.equivalence.probes import RANDOM_ROW_COUNT, probe_rows
from training.equivalence.reference import (
    interventional_shap,
    path_dependent_shap,
    reference_grade,
    reference_margins,
    reference_pd,
    reference_score,
)
from training.errors import ModelRejected

_SCORED_ROWS_MAX = 10_000
# A model with more leaves is checked on samples of the rows. The constants were chosen so that the check of 1,000 trees of 31
# leaves compares about 130,000 margins and 400 explanations of each kind of row.
_LARGE_LEAVES = 10_000
_MARGIN_WORK, _CONTRIBUTION_WORK, _SAMPLE_MIN = 4_000_000_000, 400_000_000_000, 32
_WAITING_ROWS_MAX = 20_000
# Tolerance for a pd, and for points in addition to their rounding. It is far below the precision that users see, and far
# above the rounding error of doubles.
_SCALED_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A model and the files that were exported from it.

    Attributes:
        booster: The LightGBM model.
        score: Bytes of score.onnx.
        explain: Bytes of explain.onnx.
        baseline: The rows that an interventional explanation compares an explained row with, shape
            (n_baseline, features), NaN where missing; None for a path-dependent explanation.
        base_margin: Margin to which the contributions of a row are added to obtain its margin.
    """

    booster: lightgbm.Booster
    score: bytes
    explain: bytes
    baseline: NDArray[np.float64] | None
    base_margin: float


@dataclass(frozen=True, slots=True)
class RowKindResult:
    """The result for one kind of probe rows, with the same fields as an entry of gate.json.

    Attributes:
        kind: Name of the kind.
        rows: Number of rows.
        rows_sha256: SHA-256 of the bytes of the rows.
        contribution_distance: Largest distance between a contribution and the reference, in the unit of the margin.
        residual: Largest distance between a margin and the sum of base margin and contributions, in the unit of the margin.
        explained_rows: Number of rows whose contributions were compared, if they are a sample; None if all rows were.
    """

    kind: str
    rows: int
    rows_sha256: str
    contribution_distance: float
    residual: float
    explained_rows: int | None = None


@dataclass(frozen=True, slots=True)
class EquivalenceReport:
    """The report of a check that passed, with the same fields as gate.json. A check that fails raises ExportMismatch.

    Attributes:
        method: "interventional" or "path_dependent".
        base_margin: The base margin, as in `ExportedModel`.
        kinds: One result for each kind of probe rows.
    """

    method: str
    base_margin: float
    kinds: tuple[RowKindResult, ...]


class ExportMismatch(ModelRejected):
    """An exported file differs from its model.

    Attributes:
        counterexample: A row that shows the difference.
    """

    def __init__(self, counterexample: Counterexample) -> None:
        super().__init__(f"the exported files differ from the model, so nothing is released:\n{counterexample}")
        self.counterexample = counterexample


@dataclass(frozen=True, slots=True)
class RowLimits:
    """The largest numbers of rows of each kind that are compared; None for no limit."""

    margins: int | None
    contributions: int | None


def check_equivalence(
    model: ExportedModel,
    data: NDArray[np.float64] | None,
    random_rows: int = RANDOM_ROW_COUNT,
    report_progress: Callable[[str], None] = lambda _line: None,
    limits: RowLimits | None = None,
) -> EquivalenceReport:
    """Compare the exported files with the references, on every kind of probe rows.

    Margins must be equal bit for bit. Contributions and the base margin may differ by up to LOG_ODDS_TOLERANCE.

    Args:
        model: The model and its files.
        data: Real rows of shape (n, features), NaN where missing; None if there are no real rows.
        random_rows: Number of random rows.
        report_progress: Function that is called with a line of text before each kind of rows is checked.
        limits: Limits of the samples; by default, they follow from the size of the model.

    Raises:
        ExportMismatch: A file differs from the model; the error has the first row that differs.
    """
    scorer = Scorer(model.score, model.explain)
    _check_base_margin(model)
    limits, results, waiting = limits or _row_limits(model.booster), [], _WaitingRows(model)
    for kind, rows in probe_rows(model.booster, data, random_rows, limits.margins):
        memory = f", {_peak_memory_mb():,} MB of memory so far" if limits.margins else ""
        report_progress(f"checking {len(rows):,} rows: {kind}{memory}")
        results += waiting.add(*_check_margins(model, scorer, kind, rows, limits.contributions))
    results += waiting.check()
    method = "path_dependent" if model.baseline is None else "interventional"
    return EquivalenceReport(method, model.base_margin, tuple(results))


def gate_document(report: EquivalenceReport) -> GateDocument:
    """Return the content of gate.json."""
    return GateDocument.model_validate(asdict(report))


def check_scores(model: ExportedModel, card: Scorecard, rows: NDArray[np.float64]) -> None:
    """Compare the pds, scores, grades and points of the files with the references, for the first 10,000 rows.

    Args:
        model: The model and its files.
        card: Calibration, scaling and grades.
        rows: Shape (n, features), NaN where missing.

    Raises:
        ExportMismatch: A result differs from its reference; the error has the first row that differs.
    """
    chosen = rows[:_SCORED_ROWS_MAX]
    margins, contributions = Scorer(model.score, model.explain).explain(chosen)
    answers = [
        build_explained_score(card, model.base_margin, margin, parts)
        for margin, parts in zip(margins.tolist(), contributions.tolist(), strict=True)
    ]
    check_answers(model, card, chosen, answers)


def check_answers(
    model: ExportedModel, card: Scorecard, rows: NDArray[np.float64], answers: Sequence[ExplainedScore]
) -> None:
    """Compare the explained scores of rows with LightGBM's margins and the reference contributions.

    The references are calibrated and scaled by the formulas that define the scorecard.

    Raises:
        ExportMismatch: An answer differs from its reference; the error has the first row that differs.
    """
    margins, contributions = reference_margins(model.booster, rows), _reference_contributions(model, rows)
    for number, (answer, margin, parts) in enumerate(zip(answers, margins.tolist(), contributions, strict=True)):
        if difference := _first_difference(card, answer, margin, parts):
            quantity, expected, actual = difference
            raise ExportMismatch(Counterexample("data", number, tuple(rows[number]), quantity, expected, actual))


def reference_base_margin(booster: lightgbm.Booster, baseline: NDArray[np.float64] | None) -> float:
    """Return the base margin by definition, before calibration.

    With a baseline, it is the mean margin of the baseline rows. Without a baseline, it is the base value that LightGBM
    computes from the number of training rows at each node.
    """
    if baseline is None:
        return path_dependent_shap(booster, np.zeros((1, booster.num_feature())))[1]
    return float(np.mean(reference_margins(booster, baseline)))


def _first_difference(
    card: Scorecard, answer: ExplainedScore, margin: float, contributions: NDArray[np.float64]
) -> tuple[str, float, float] | None:
    """Return the first quantity of an answer that differs from the reference, with both values; None if none does."""
    pd, score = reference_pd(card, margin), reference_score(card, margin)
    # If a pd lies on the boundary of two grades, rounding in its last bit decides its grade. Therefore both grades are accepted.
    grades = {reference_grade(card, pd - _SCALED_TOLERANCE), reference_grade(card, pd + _SCALED_TOLERANCE)}
    exact = reference_score(card, contributions) - reference_score(card, 0.0)
    points_distance = float(np.abs(np.array(answer.points) - exact).max())
    for quantity, distance, expected, actual in (
        ("pd", abs(answer.pd - pd) / _SCALED_TOLERANCE, pd, answer.pd),
        (f"grade {answer.grade}", 0.0 if answer.grade in grades else math.inf, pd, answer.pd),
        ("score", abs(answer.score - score) / (0.5 + _SCALED_TOLERANCE), score, answer.score),
        # Points are rounded up or down such that they add up to the score, so the distance to the exact points can be almost 1.
        ("points", points_distance / (1.0 + _SCALED_TOLERANCE), float(exact.sum()), sum(answer.points)),
    ):
        # "not <=" instead of ">", so that NaN counts as a difference.
        if not distance <= 1.0:
            return quantity, expected, actual
    return None


def _check_base_margin(model: ExportedModel) -> None:
    """Raise ExportMismatch if the base margin differs from the reference."""
    expected = reference_base_margin(model.booster, model.baseline)
    if not abs(model.base_margin - expected) <= LOG_ODDS_TOLERANCE:
        raise ExportMismatch(Counterexample("baseline", 0, (), "base margin", expected, model.base_margin))


def _row_limits(booster: lightgbm.Booster) -> RowLimits:
    """Return the limits for a model. Below _LARGE_LEAVES leaves there are none.

    The time for the margins of a row is proportional to the number of leaves. The time for its contributions grows
    faster, because larger models have deeper trees.
    """
    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    if leaves <= _LARGE_LEAVES:
        return RowLimits(None, None)
    return RowLimits(max(_SAMPLE_MIN, _MARGIN_WORK // leaves), max(_SAMPLE_MIN, _CONTRIBUTION_WORK // leaves**2))


def _peak_memory_mb() -> int:
    """Return the largest memory that this process has used so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _check_margins(
    model: ExportedModel, scorer: Scorer, kind: str, rows: NDArray[np.float64], explained_max: int | None
) -> tuple["_RowComparison", NDArray[np.float64], NDArray[np.float64], RowKindResult]:
    """Compare the margins of one kind of rows with the reference, and explain the rows or a sample of them.

    Returns:
        The rows whose contributions are still to be compared, their margins and contributions, and the result so far.
    """
    digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
    expected = reference_margins(model.booster, rows) if len(rows) else np.zeros(0)
    _RowComparison(model, kind, rows).check_margins("score.onnx", model.score, expected, scorer.margins(rows))
    numbers = np.arange(len(rows))
    if explained_max is not None and len(rows) > explained_max:
        numbers = np.arange(0, len(rows), -(-len(rows) // explained_max))
    explained = None if len(numbers) == len(rows) else len(numbers)
    comparison = _RowComparison(model, kind, rows[numbers], numbers)
    margins, contributions = scorer.explain(comparison.rows)
    comparison.check_margins("explain.onnx", model.explain, expected[numbers], margins)
    return comparison, margins, contributions, RowKindResult(kind, len(rows), digest, 0.0, 0.0, explained)


class _WaitingRows:
    """Rows of several kinds whose contributions are compared at once.

    The reference visits every leaf of the model in each call, so that few rows take as long as many.
    """

    def __init__(self, model: ExportedModel) -> None:
        self._model = model
        self._parts: list[tuple[_RowComparison, NDArray[np.float64], NDArray[np.float64], RowKindResult]] = []

    def add(
        self,
        comparison: "_RowComparison",
        margins: NDArray[np.float64],
        contributions: NDArray[np.float64],
        result: RowKindResult,
    ) -> list[RowKindResult]:
        """Add rows; compare all waiting rows if they are many, and return the results of the compared ones."""
        self._parts.append((comparison, margins, contributions, result))
        waiting = sum(len(part[0].rows) for part in self._parts)
        return self.check() if waiting >= _WAITING_ROWS_MAX else []

    def check(self) -> list[RowKindResult]:
        """Compare all waiting rows, and return one result for each kind."""
        rows = np.concatenate([comparison.rows for comparison, *_ in self._parts]) if self._parts else np.zeros((0, 0))
        expected = _reference_contributions(self._model, rows) if len(rows) else rows
        results, first = [], 0
        for comparison, margins, contributions, result in self._parts:
            last = first + len(comparison.rows)
            if last > first:
                distance = comparison.check_contributions(expected[first:last], contributions)
                residual = comparison.check_sums(margins, contributions)
                results.append(replace(result, contribution_distance=distance, residual=residual))
            else:
                results.append(result)
            first = last
        self._parts = []
        return results


@dataclass(frozen=True, slots=True)
class _RowComparison:
    """The comparison of the files with the references on one kind of rows; each check raises ExportMismatch."""

    model: ExportedModel
    kind: str
    rows: NDArray[np.float64]
    numbers: NDArray[np.int64] | None = None  # positions of the rows among those of their kind, if they are a sample

    def check_margins(
        self, file: str, graph: bytes, expected: NDArray[np.float64], actual: NDArray[np.float64]
    ) -> None:
        """Check that margins are equal bit for bit."""
        if (different := np.flatnonzero(actual != expected)).size:
            number = int(different[0])
            divergence = locate_divergence(self.model.booster, graph, self.rows[number])
            self._fail(number, f"margin of {file}", float(expected[number]), float(actual[number]), divergence)

    def check_contributions(self, expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
        """Check contributions within the tolerance, and return their largest distance."""
        distance = np.abs(actual - expected)
        if not distance.max() <= LOG_ODDS_TOLERANCE:
            number, feature = (int(index) for index in divmod(int(np.argmax(distance)), distance.shape[1]))
            quantity = f"contribution of {self.model.booster.feature_name()[feature]}"
            self._fail(number, quantity, float(expected[number, feature]), float(actual[number, feature]))
        return float(distance.max())

    def check_sums(self, margins: NDArray[np.float64], contributions: NDArray[np.float64]) -> float:
        """Check that base margin and contributions add up to the margin, and return the largest residual."""
        residual = np.abs(margins - self.model.base_margin - contributions.sum(axis=1))
        if not residual.max() <= LOG_ODDS_TOLERANCE:
            number = int(np.argmax(residual))
            total = float(self.model.base_margin + contributions[number].sum())
            self._fail(number, "sum of base and contributions", float(margins[number]), total)
        return float(residual.max())

    def _fail(self, number: int, quantity: str, expected: float, actual: float, divergence: str = "") -> NoReturn:
        """Raise ExportMismatch for one row."""
        row, position = tuple(self.rows[number]), number if self.numbers is None else int(self.numbers[number])
        raise ExportMismatch(Counterexample(self.kind, position, row, quantity, expected, actual, divergence))


def _reference_contributions(model: ExportedModel, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the contributions by definition: shape (n, features), in the unit of the margin."""
    if model.baseline is None:
        return path_dependent_shap(model.booster, rows)[0]
    return interventional_shap(model.booster, rows, model.baseline)
