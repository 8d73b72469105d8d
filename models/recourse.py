"""Recourse: the smallest changes, among the features that a customer can influence, that bring the pd down to a cut-off.

Counterfactuals are sorted by the number of changes, and then by distance. The distance is the share of the baseline
between the old and the new value of a feature, summed over the changed features. Counterfactuals change only features
of actionable groups, and only to candidate values (`models.candidate_values`). A feature with a sign (a monotone
constraint) changes only toward less risk. Missing values stay missing, and categories stay as they are. Every
counterfactual is scored again like a customer's own row.

The search is deterministic: equal requests have equal answers. ROWS_MAX limits how many rows the search scores. If
every feature has a sign and at most 19 features may change, the search covers all sets of up to three features.
Otherwise it may cover only the most promising sets and miss a smaller change; then `RecourseResult.complete` is False.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.candidate_values import STEPS_MAX, CandidateGrid, candidate_grids
from models.counterfactual_search import Box, Proposal, TrialScorer, cheapest_points, crossing_boxes, scored_spans
from models.model import Model
from models.schema import FeatureInput

_COUNTERFACTUALS_MAX = 3
_CHANGES_MAX = 3
ROWS_MAX = 4_000
# Number of rows that the search leaves for two later steps: shrinking each change of each counterfactual, and scoring the
# counterfactuals again.
_ROWS_RESERVED = _COUNTERFACTUALS_MAX * (_CHANGES_MAX * (STEPS_MAX + 1) + 1)


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """The current value and the proposed value of one feature."""

    feature: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Changes that together bring the pd to the target or below.

    Attributes:
        changes: The changes, sorted by feature name.
        distance: Share of the baseline between old and new values, summed over the changes.
        pd: Probability of default after the changes, from 0 to 1.
        score: Score after the changes, in points.
    """

    changes: tuple[FeatureChange, ...]
    distance: float
    pd: float
    score: int

    @property
    def features(self) -> frozenset[str]:
        """Return the names of the features that change."""
        return frozenset(change.feature for change in self.changes)


@dataclass(frozen=True, slots=True)
class RecourseResult:
    """The result of a search.

    Attributes:
        counterfactuals: The counterfactuals, sorted by the number of changes and then by distance. If the model obeys
            the signs, no counterfactual changes all features of another counterfactual.
        rows_scored: How many rows the search scored; at most ROWS_MAX.
        complete: True if the search was exhaustive. If an exhaustive search returns fewer than _COUNTERFACTUALS_MAX
            counterfactuals and the model obeys the signs, every other set of up to _CHANGES_MAX features that can cross
            contains all features of a returned counterfactual.
    """

    counterfactuals: tuple[Counterfactual, ...]
    rows_scored: int
    complete: bool


class Recourse:
    """Searches for counterfactuals with one model. Safe to share between threads.

    Attributes:
        model: The model that scores the changed rows.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._grids: Mapping[str, CandidateGrid] = {grid.feature.name: grid for grid in candidate_grids(model.bundle)}

    def search(self, values: Mapping[str, FeatureInput], target_pd: float) -> RecourseResult:
        """Return up to _COUNTERFACTUALS_MAX counterfactuals of one customer.

        Args:
            values: The customer's values by feature name; missing features are absent.
            target_pd: The cut-off, not rounded: a pd of at most this value is sufficient.

        Returns:
            The result. It has no counterfactuals if no change suffices, or if the customer's pd is already at most the
            target.
        """
        schema = self.model.bundle.schema
        row = schema.row({name: schema.encode_value(name, value) for name, value in values.items()})
        trials = TrialScorer(self.model, row, target_pd, ROWS_MAX)
        if trials.are_crossing([()])[0]:  # the unchanged row
            return RecourseResult((), ROWS_MAX - trials.rows_left, complete=True)
        boxes, complete = self._find_boxes(trials)
        found: list[Counterfactual] = []
        for box in boxes:
            counterfactual = self._verify_proposal(trials, self._shrink_box(trials, box))
            # If the model violates a sign, a box may lose features when it shrinks. A counterfactual may then change all
            # features of an earlier counterfactual. In this case, drop the later one.
            if counterfactual is not None and not any(other.features <= counterfactual.features for other in found):
                found.append(counterfactual)
        found.sort(key=lambda each: (len(each.changes), each.distance, sorted(each.features)))
        return RecourseResult(tuple(found), ROWS_MAX - trials.rows_left, complete=complete)

    def _find_boxes(self, trials: TrialScorer) -> tuple[list[Box], bool]:
        """Return the smallest crossing changes among the steps of the grids, and whether the search was exhaustive."""
        candidates = [grid.candidates(float(trials.row[0, grid.position])) for grid in self._grids.values()]
        spans, complete = scored_spans(candidates, trials)
        found: list[Box] = []
        for size in range(1, _CHANGES_MAX + 1):
            answered = [frozenset(box.names) for box in found]
            boxes, all_seen = crossing_boxes(spans, size, answered, trials)
            points, exact = cheapest_points(boxes, _COUNTERFACTUALS_MAX - len(found), trials, _ROWS_RESERVED)
            found += points
            complete = complete and all_seen and exact
            if len(found) == _COUNTERFACTUALS_MAX:
                break
        return found, complete

    def _shrink_box(self, trials: TrialScorer, box: Box) -> Proposal:
        """Return the changes of a point after shrinking: each is dropped, or reduced to the nearest fine step that still crosses."""
        proposal = dict(box.far_corner)
        # Changes are reduced one after the other. The largest is first, because it can usually be reduced the most.
        for span in sorted(box.spans, key=lambda span: (-span.cost[0], span.name)):
            position = span.candidates.position
            own = float(trials.row[0, position])
            # The customer's own value is tried first: if the row crosses with it, the change is not needed at all.
            nearer = (own, *self._grids[span.name].finer_steps(own, proposal[position]))
            crossing = trials.are_crossing([tuple({**proposal, position: value}.items()) for value in nearer])
            proposal[position] = next(
                (value for value, crosses in zip(nearer, crossing, strict=True) if crosses), proposal[position]
            )
        return tuple((position, value) for position, value in proposal.items() if value != trials.row[0, position])

    def _verify_proposal(self, trials: TrialScorer, proposal: Proposal) -> Counterfactual | None:
        """Score and explain the changed row like any customer's row; return None if this score does not reach the target."""
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
        """Return the share of the baseline between old and new values, summed over the changes."""
        return math.fsum(self._grids[change.feature].distance(change.before, change.after) for change in changes)
