"""Examines exported files against LightGBM and the definition, kind of row by kind of row."""

import hashlib
from dataclasses import asdict, dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.documents import GateDocument, Scorecard
from models.explained import explained
from models.scoring import Scorer
from training.errors import ModelRefused
from training.gate.reference import interventional, margins, path_dependent
from training.gate.rows import RANDOM_ROWS, examined_rows
from training.gate.witness import Witness, parting

# Contributions are sums of a few hundred doubles, added in another order than the oracle adds them.
CONTRIBUTION_MAX = 1e-9
SCORED_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Examined:
    """One kind of row: how many, which (SHA-256 of the rows), and the largest distances found."""

    kind: str
    rows: int
    rows_sha256: str
    contribution_distance: float
    residual: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was examined. There is no verdict with a difference: that is a refusal with a witness."""

    method: str
    base_margin: float
    kinds: tuple[Examined, ...]


class NotEqual(ModelRefused):
    """An exported file is not its model; the witness is a row that shows it."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(f"the exported files are not the model; nothing is released:\n{witness}")
        self.witness = witness


@dataclass(frozen=True, slots=True)
class Subject:
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


def examine(subject: Subject, data: NDArray[np.float64] | None, random_rows: int = RANDOM_ROWS) -> Verdict:
    """Compare margins to the bit, contributions and base value within CONTRIBUTION_MAX, on every kind of row.

    Raises:
        NotEqual: With the first row that differs.
    """
    scorer = Scorer(subject.score, subject.explain)
    refuse_base(subject)
    kinds = [
        examine_kind(subject, scorer, kind, rows) for kind, rows in examined_rows(subject.booster, data, random_rows)
    ]
    method = "path_dependent" if subject.baseline is None else "interventional"
    return Verdict(method, subject.base_margin, tuple(kinds))


def gate_document(verdict: Verdict) -> GateDocument:
    """Write the verdict down."""
    return GateDocument.model_validate(asdict(verdict))


def prove_scores(subject: Subject, card: Scorecard, rows: NDArray[np.float64]) -> None:
    """Compare what people see: pd, score, grade and points, from the files and from the oracles.

    Raises:
        NotEqual: With the first row that differs.
    """
    scorer = Scorer(subject.score, subject.explain)
    chosen = rows[:SCORED_ROWS]
    files = zip(*(part.tolist() for part in scorer.explain(chosen)), strict=True)
    oracles = zip(margins(subject.booster, chosen).tolist(), oracle_of(subject, chosen).tolist(), strict=True)
    for number, (file, oracle) in enumerate(zip(files, oracles, strict=True)):
        found, expected = (explained(card, subject.base_margin, *pair) for pair in (file, oracle))
        if (found.pd, found.score, found.grade) != (expected.pd, expected.score, expected.grade):
            raise NotEqual(Witness("data", number, tuple(chosen[number]), "pd, score or grade", expected.pd, found.pd))
        # Equal remainders that differ in their last bit may round the other way: each is still within 1.
        if max(abs(a - b) for a, b in zip(found.points, expected.points, strict=True)) > 1:
            raise NotEqual(Witness("data", number, tuple(chosen[number]), "points", expected.score, found.score))


def refuse_base(subject: Subject) -> None:
    """Refuse a base value that is not the mean margin of the baseline (or of the training rows, by cover)."""
    if subject.baseline is None:
        width = subject.booster.num_feature()
        expected = path_dependent(subject.booster, np.zeros((1, width)))[1]
    else:
        expected = float(np.mean(margins(subject.booster, subject.baseline)))
    if not abs(subject.base_margin - expected) <= CONTRIBUTION_MAX:
        raise NotEqual(Witness("baseline", 0, (), "base margin", expected, subject.base_margin))


def examine_kind(subject: Subject, scorer: Scorer, kind: str, rows: NDArray[np.float64]) -> Examined:
    """Compare one kind of row."""
    digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
    if not len(rows):
        return Examined(kind, 0, digest, 0.0, 0.0)
    expected = margins(subject.booster, rows)
    found, parts = scorer.explain(rows)
    for file, given, graph in (
        ("score.onnx", scorer.margins(rows), subject.score),
        ("explain.onnx", found, subject.explain),
    ):
        if (wrong := np.flatnonzero(given != expected)).size:
            number = int(wrong[0])
            place = parting(subject.booster, graph, rows[number])
            numbers = float(expected[number]), float(given[number])
            raise NotEqual(Witness(kind, number, tuple(rows[number]), f"margin of {file}", *numbers, place))
    residual = np.abs(found - subject.base_margin - parts.sum(axis=1))
    oracle = oracle_of(subject, rows)
    distance = np.abs(parts - oracle)
    if not distance.max() <= CONTRIBUTION_MAX:
        number, feature = divmod(int(np.argmax(distance)), distance.shape[1])
        name = subject.booster.feature_name()[feature]
        cell = (float(oracle[number, feature]), float(parts[number, feature]))
        raise NotEqual(Witness(kind, int(number), tuple(rows[number]), f"contribution of {name}", *cell))
    if not residual.max() <= CONTRIBUTION_MAX:
        number = int(np.argmax(residual))
        whole, added = float(found[number]), float(subject.base_margin + parts[number].sum())
        raise NotEqual(Witness(kind, number, tuple(rows[number]), "sum of base and contributions", whole, added))
    return Examined(kind, len(rows), digest, float(distance.max()), float(residual.max()))


def oracle_of(subject: Subject, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the contributions that must come out."""
    if subject.baseline is None:
        return path_dependent(subject.booster, rows)[0]
    return interventional(subject.booster, rows, subject.baseline)
