"""Recourse: the smallest changes, among the features that a customer can influence, that bring the pd down to a cut-off.

Counterfactuals with fewer changes come first, and then those with a shorter distance: the share of the baseline between the
old and the new values, summed over the features. They change features of actionable groups only, only toward less risk if a
feature has a sign (a monotone constraint), and only to candidate values (`models.candidate_values`). Missing values stay
missing, and categories stay as they are. Every counterfactual is scored again like a customer's own row.

The search is deterministic: equal requests have equal answers. ROWS_MAX bounds its work. If every feature has a sign and
there are at most 19, it covers all sets of up to three features. Beyond that it covers the most promising sets
only, so it may miss a smaller set. `RecourseResult.complete` reports whether that is possible.
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
# Rows that the search leaves for shrinking each change of each answer, and for scoring the answers again.
_ROWS_RESERVED = _COUNTERFACTUALS_MAX * (_CHANGES_MAX * (STEPS_MAX + 1) + 1)


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """One feature's current value, and the proposed one."""

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
        counterfactuals: The counterfactuals, fewest changes first, then the shortest distance. None of them changes all
            features that another one changes.
        rows_scored: How many rows the search scored; at most ROWS_MAX.
        complete: Whether the search was exhaustive. If it was and returned fewer than _COUNTERFACTUALS_MAX counterfactuals,
            no other set of up to _CHANGES_MAX features crosses, provided that the model obeys the signs.
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
            The result; without counterfactuals if no change suffices, or if the pd is at most the target already.
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
            # If the model violates a sign, a box may shrink to the features of an earlier answer.
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
        """Return the changes of a point, each dropped or reduced to the nearest fine step at which the row still crosses."""
        proposal = dict(box.far_corner)
        # The largest change is reduced first, because it can be reduced the most; the other changes stay as they are.
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
        """Score and explain the changed row like any customer's row; return None if it does not cross after all."""
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
