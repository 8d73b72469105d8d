"""Examines exported files against LightGBM and the definition, kind of row by kind of row."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.bundle_documents import GateDocument, Scorecard
from models.explained_score import ExplainedScore, build_explained_score
from models.scoring import Scorer
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

SCORED_ROWS = 10_000
SCALED_MAX = 1e-6  # far below what a pd or a point is told with, far above what doubles leave over


@dataclass(frozen=True, slots=True)
class RowKindResult:
    """One kind of row: how many, which (SHA-256 of the rows), and the largest distances found."""

    kind: str
    rows: int
    rows_sha256: str
    contribution_distance: float
    residual: float


@dataclass(frozen=True, slots=True)
class EquivalenceReport:
    """What was examined. There is no verdict with a difference: that is a refusal with a witness."""

    method: str
    base_margin: float
    kinds: tuple[RowKindResult, ...]


class ExportMismatch(ModelRejected):
    """An exported file is not its model; the witness is a row that shows it."""

    def __init__(self, witness: Counterexample) -> None:
        super().__init__(f"the exported files are not the model; nothing is released:\n{witness}")
        self.counterexample = witness


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What is examined.

    Attributes:
        baseline: The population of an interventional explanation; None for a path-dependent one.
        base_margin: What the contributions are counted from.
    """

    booster: lightgbm.Booster
    score: bytes
    explain: bytes
    baseline: NDArray[np.float64] | None
    base_margin: float


def check_equivalence(
    subject: ExportedModel,
    data: NDArray[np.float64] | None,
    random_rows: int = RANDOM_ROW_COUNT,
    report_progress: Callable[[str], None] = lambda _line: None,
) -> EquivalenceReport:
    """Compare margins to the bit, contributions and base value within LOG_ODDS_TOLERANCE, on every kind of row.

    `say` is called before each kind of row.

    Raises:
        NotEqual: With the first row that differs.
    """
    scorer = Scorer(subject.score, subject.explain)
    refuse_base(subject)
    kinds = []
    for kind, rows in probe_rows(subject.booster, data, random_rows):
        report_progress(f"examine {len(rows):,} rows: {kind}")
        kinds.append(examine_kind(subject, scorer, kind, rows))
    method = "path_dependent" if subject.baseline is None else "interventional"
    return EquivalenceReport(method, subject.base_margin, tuple(kinds))


def gate_document(verdict: EquivalenceReport) -> GateDocument:
    """Write the verdict down."""
    return GateDocument.model_validate(asdict(verdict))


def check_scores(subject: ExportedModel, card: Scorecard, rows: NDArray[np.float64]) -> None:
    """Compare what people see: pd, score, grade and points, from the files and from the oracles.

    Raises:
        NotEqual: With the first row that differs.
    """
    chosen = rows[:SCORED_ROWS]
    found = zip(*(part.tolist() for part in Scorer(subject.score, subject.explain).explain(chosen)), strict=True)
    check_answers(subject, card, chosen, [build_explained_score(card, subject.base_margin, *one) for one in found])


def check_answers(
    subject: ExportedModel, card: Scorecard, rows: NDArray[np.float64], answers: Sequence[ExplainedScore]
) -> None:
    """Compare answers with LightGBM's margins and the contributions by definition, scaled by definition.

    Raises:
        NotEqual: With the first row that differs.
    """
    wanted = zip(reference_margins(subject.booster, rows).tolist(), oracle_of(subject, rows), strict=True)
    for number, (answer, (margin, parts)) in enumerate(zip(answers, wanted, strict=True)):
        pd, score = reference_pd(card, margin), reference_score(card, margin)
        grades = {reference_grade(card, pd - SCALED_MAX), reference_grade(card, pd + SCALED_MAX)}
        exact = reference_score(card, parts) - reference_score(card, 0.0)
        farthest = float(np.abs(np.array(answer.points) - exact).max())
        for what, distance, expected, given in (
            ("pd", abs(answer.pd - pd) / SCALED_MAX, pd, answer.pd),
            (f"grade {answer.grade}", 0.0 if answer.grade in grades else math.inf, pd, answer.pd),
            ("score", abs(answer.score - score) / (0.5 + SCALED_MAX), score, answer.score),
            # Each of the points is rounded up or down, so that they add up.
            ("points", farthest / (1.0 + SCALED_MAX), float(exact.sum()), sum(answer.points)),
        ):
            if not distance <= 1.0:
                raise ExportMismatch(Counterexample("data", number, tuple(rows[number]), what, expected, given))


def refuse_base(subject: ExportedModel) -> None:
    """Refuse a base value that is not the mean margin of the baseline (or of the training rows, by cover)."""
    expected = reference_base_margin(subject.booster, subject.baseline)
    if not abs(subject.base_margin - expected) <= LOG_ODDS_TOLERANCE:
        raise ExportMismatch(Counterexample("baseline", 0, (), "base margin", expected, subject.base_margin))


def examine_kind(subject: ExportedModel, scorer: Scorer, kind: str, rows: NDArray[np.float64]) -> RowKindResult:
    """Compare one kind of row."""
    digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
    if not len(rows):
        return RowKindResult(kind, 0, digest, 0.0, 0.0)
    expected = reference_margins(subject.booster, rows)
    found, parts = scorer.explain(rows)
    for file, given, graph in (
        ("score.onnx", scorer.margins(rows), subject.score),
        ("explain.onnx", found, subject.explain),
    ):
        if (wrong := np.flatnonzero(given != expected)).size:
            number = int(wrong[0])
            place = locate_divergence(subject.booster, graph, rows[number])
            numbers = float(expected[number]), float(given[number])
            raise ExportMismatch(
                Counterexample(kind, number, tuple(rows[number]), f"margin of {file}", *numbers, place)
            )
    residual = np.abs(found - subject.base_margin - parts.sum(axis=1))
    oracle = oracle_of(subject, rows)
    distance = np.abs(parts - oracle)
    if not distance.max() <= LOG_ODDS_TOLERANCE:
        number, feature = divmod(int(np.argmax(distance)), distance.shape[1])
        name = subject.booster.feature_name()[feature]
        cell = (float(oracle[number, feature]), float(parts[number, feature]))
        raise ExportMismatch(Counterexample(kind, int(number), tuple(rows[number]), f"contribution of {name}", *cell))
    if not residual.max() <= LOG_ODDS_TOLERANCE:
        number = int(np.argmax(residual))
        whole, added = float(found[number]), float(subject.base_margin + parts[number].sum())
        raise ExportMismatch(
            Counterexample(kind, number, tuple(rows[number]), "sum of base and contributions", whole, added)
        )
    return RowKindResult(kind, len(rows), digest, float(distance.max()), float(residual.max()))


def reference_base_margin(booster: lightgbm.Booster, baseline: NDArray[np.float64] | None) -> float:
    """Give the mean margin of the baseline, or of the training rows by the covers of the splits where there is none."""
    if baseline is None:
        return path_dependent_shap(booster, np.zeros((1, booster.num_feature())))[1]
    return float(np.mean(reference_margins(booster, baseline)))


def oracle_of(subject: ExportedModel, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the contributions that must come out."""
    if subject.baseline is None:
        return path_dependent_shap(subject.booster, rows)[0]
    return interventional_shap(subject.booster, rows, subject.baseline)
