"""Recourse: which changes of what a customer can act on would bring the pd down to a cut-off.

Fewest features first, then the smallest change, measured as the share of the baseline between the old and the new
values, added over the features. Only groups that are marked actionable; only toward less risk where a feature has a
sign; only values that the baseline has (models/candidate_values.py). What is missing stays missing, and a category stays as it is.
Everything that is answered was scored again, as the customer's own row is.

Nothing is random, so the same question has the same answers. The work is bounded by ROWS_MAX. Where every feature has a
sign and there are at most 19, all sets of up to three features are looked at. Beyond, those are whose single changes
promise most, so a smaller set, or the only one, may be missed: `Found.complete` says whether that can be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.candidate_values import STEPS_MAX, CandidateGrid, candidate_grids
from models.counterfactual_search import Box, Proposal, TrialScorer, cheapest_points, crossing_boxes, scored_spans
from models.model import Model
from models.schema import FeatureInput

COUNTERFACTUALS_MAX = 3
CHANGES_MAX = 3
ROWS_MAX = 4_000
# What making the answers smaller and scoring them again may take.
_ROWS_RESERVED = COUNTERFACTUALS_MAX * (CHANGES_MAX * (STEPS_MAX + 1) + 1)


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """One feature's value, and the one that is proposed instead."""

    feature: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Changes that together bring the pd to the target.

    Attributes:
        changes: By feature name.
        distance: Share of the baseline between old and new values, added over the changes.
        pd: After the changes.
        score: After the changes.
    """

    changes: tuple[FeatureChange, ...]
    distance: float
    pd: float
    score: int

    @property
    def features(self) -> frozenset[str]:
        """Name what changes."""
        return frozenset(change.feature for change in self.changes)


@dataclass(frozen=True, slots=True)
class RecourseResult:
    """What a search gave.

    Attributes:
        answers: Fewest changes first, then the smallest; none holds all features of another.
        rows_scored: How many rows the search scored; at most ROWS_MAX.
        complete: No bound was met: where there are fewer than ANSWERS_MAX answers, there is no other set of up to
            CHANGES_MAX features, as far as the signs hold.
    """

    counterfactuals: tuple[Counterfactual, ...]
    rows_scored: int
    complete: bool


class Recourse:
    """Finds what would change a model's decision; may be shared between threads.

    Attributes:
        ladders: What may be proposed, by feature name.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.grids: Mapping[str, CandidateGrid] = {
            ladder.feature.name: ladder for ladder in candidate_grids(model.bundle)
        }

    def search(self, values: Mapping[str, FeatureInput], target_pd: float) -> RecourseResult:
        """Find up to ANSWERS_MAX sets of changes that bring the pd to the target or below.

        Args:
            values: Of one customer, by feature name; a feature that is not there is missing.
            target_pd: The unrounded cut-off, inclusive.

        Returns:
            No answers where nothing helps, and where the pd is not above the target as it is.
        """
        schema = self.model.bundle.schema
        row = schema.row({name: schema.encode_value(name, value) for name, value in values.items()})
        trials = TrialScorer(self.model, row, target_pd, ROWS_MAX)
        if trials.are_crossing([()])[0]:
            return RecourseResult((), ROWS_MAX - trials.rows_left, complete=True)
        boxes, complete = self._find_boxes(trials)
        answers: list[Counterfactual] = []
        for box in boxes:
            answer = self._verify_proposal(trials, self._shrink_box(trials, box))
            # Where a sign does not hold, a reduced answer may have shrunk into another.
            if answer is not None and not any(other.features <= answer.features for other in answers):
                answers.append(answer)
        answers.sort(key=lambda answer: (len(answer.changes), answer.distance, sorted(answer.features)))
        return RecourseResult(tuple(answers), ROWS_MAX - trials.rows_left, complete=complete)

    def _find_boxes(self, trials: TrialScorer) -> tuple[list[Box], bool]:
        """Give the smallest crossing changes among the steps, and whether no bound was met."""
        offers = [ladder.candidates(float(trials.row[0, ladder.position])) for ladder in self.grids.values()]
        choices, complete = scored_spans(offers, trials)
        found: list[Box] = []
        for size in range(1, CHANGES_MAX + 1):
            answered = [frozenset(box.names) for box in found]
            boxes, all_seen = crossing_boxes(choices, size, answered, trials)
            points, exact = cheapest_points(boxes, COUNTERFACTUALS_MAX - len(found), trials, _ROWS_RESERVED)
            found += points
            complete = complete and all_seen and exact
            if len(found) == COUNTERFACTUALS_MAX:
                break
        return found, complete

    def _shrink_box(self, trials: TrialScorer, box: Box) -> Proposal:
        """Drop each change that is not needed, or take the nearest value that is enough; the largest change first."""
        proposal = dict(box.far_corner)
        for span in sorted(box.spans, key=lambda span: (-span.cost[0], span.name)):
            position = span.candidates.position
            own = float(trials.row[0, position])
            nearer = (own, *self.grids[span.name].finer_steps(own, proposal[position]))
            crossing = trials.are_crossing([tuple({**proposal, position: value}.items()) for value in nearer])
            proposal[position] = next(
                (value for value, crosses in zip(nearer, crossing, strict=True) if crosses), proposal[position]
            )
        return tuple((position, value) for position, value in proposal.items() if value != trials.row[0, position])

    def _verify_proposal(self, trials: TrialScorer, proposal: Proposal) -> Counterfactual | None:
        """Score and explain the changed row as a customer's own; None where it does not cross after all."""
        row = trials.row.copy()
        for position, value in proposal:
            row[0, position] = value
        trials.rows_left -= 1
        (after,) = self.model.explain_rows(row)
        if after.pd > trials.target_pd:
            return None
        names = self.model.bundle.schema.names
        changes = [
            FeatureChange(names[position], float(trials.row[0, position]), value) for position, value in proposal
        ]
        return Counterfactual(
            changes=tuple(sorted(changes, key=lambda change: change.feature)),
            distance=self._distance(changes),
            pd=after.pd,
            score=after.score,
        )

    def _distance(self, changes: Sequence[FeatureChange]) -> float:
        """Measure changes: the share of the baseline between old and new values, added."""
        return math.fsum(self.grids[change.feature].distance(change.before, change.after) for change in changes)
