"""Recourse: which changes of what a customer can act on would bring the pd down to a cut-off.

Fewest features first, then the smallest change, measured as the share of the baseline between the old and the new
values, added over the features. Only groups that are marked actionable; only toward less risk where a feature has a
sign; only values that the baseline has (models/ladder.py). What is missing stays missing, and a category stays as it is.
Everything that is answered was scored again, as the customer's own row is.

Nothing is random, so the same question has the same answers. The work is bounded by ROWS_MAX. Where every feature has a
sign and there are at most 19, all sets of up to three features are looked at. Beyond, those are whose single changes
promise most, so a smaller set, or the only one, may be missed: `Found.complete` says whether that can be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.ladder import STEPS_MAX, Ladder, ladders_of
from models.model import Model
from models.schema import Value
from models.smallest import Box, Proposal, Trials, boxes_of, cheapest, choices_of

ANSWERS_MAX = 3
CHANGES_MAX = 3
ROWS_MAX = 4_000
# What making the answers smaller and scoring them again may take.
ROWS_KEPT = ANSWERS_MAX * (CHANGES_MAX * (STEPS_MAX + 1) + 1)


@dataclass(frozen=True, slots=True)
class Change:
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

    changes: tuple[Change, ...]
    distance: float
    pd: float
    score: int

    @property
    def features(self) -> frozenset[str]:
        """Name what changes."""
        return frozenset(change.feature for change in self.changes)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        answers: Fewest changes first, then the smallest; none holds all features of another.
        rows_scored: How many rows the search scored; at most ROWS_MAX.
        complete: No bound was met: where there are fewer than ANSWERS_MAX answers, there is no other set of up to
            CHANGES_MAX features, as far as the signs hold.
    """

    answers: tuple[Counterfactual, ...]
    rows_scored: int
    complete: bool


class Recourse:
    """Finds what would change a model's decision; may be shared between threads.

    Attributes:
        ladders: What may be proposed, by feature name.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.ladders: Mapping[str, Ladder] = {ladder.feature.name: ladder for ladder in ladders_of(model.bundle)}

    def search(self, values: Mapping[str, Value], target_pd: float) -> Found:
        """Find up to ANSWERS_MAX sets of changes that bring the pd to the target or below.

        Args:
            values: Of one customer, by feature name; a feature that is not there is missing.
            target_pd: The unrounded cut-off, inclusive.

        Returns:
            No answers where nothing helps, and where the pd is not above the target as it is.
        """
        schema = self.model.bundle.schema
        row = schema.row({name: schema.number_of(name, value) for name, value in values.items()})
        trials = Trials(self.model, row, target_pd, ROWS_MAX)
        if trials.crossing([()])[0]:
            return Found((), ROWS_MAX - trials.rows_left, complete=True)
        boxes, complete = self.smallest(trials)
        answers: list[Counterfactual] = []
        for box in boxes:
            answer = self.verified(trials, self.reduced(trials, box))
            # Where a sign does not hold, a reduced answer may have shrunk into another.
            if answer is not None and not any(other.features <= answer.features for other in answers):
                answers.append(answer)
        answers.sort(key=lambda answer: (len(answer.changes), answer.distance, sorted(answer.features)))
        return Found(tuple(answers), ROWS_MAX - trials.rows_left, complete=complete)

    def smallest(self, trials: Trials) -> tuple[list[Box], bool]:
        """Give the smallest crossing changes among the steps, and whether no bound was met."""
        offers = [ladder.offer(float(trials.row[0, ladder.position])) for ladder in self.ladders.values()]
        choices, complete = choices_of(offers, trials)
        found: list[Box] = []
        for size in range(1, CHANGES_MAX + 1):
            answered = [frozenset(box.names) for box in found]
            boxes, all_seen = boxes_of(choices, size, answered, trials)
            points, exact = cheapest(boxes, ANSWERS_MAX - len(found), trials, ROWS_KEPT)
            found += points
            complete = complete and all_seen and exact
            if len(found) == ANSWERS_MAX:
                break
        return found, complete

    def reduced(self, trials: Trials, box: Box) -> Proposal:
        """Drop each change that is not needed, or take the nearest value that is enough; the largest change first."""
        proposal = dict(box.far_corner)
        for span in sorted(box.spans, key=lambda span: (-span.cost[0], span.name)):
            position = span.offer.position
            own = float(trials.row[0, position])
            nearer = (own, *self.ladders[span.name].finer(own, proposal[position]))
            crossing = trials.crossing([tuple({**proposal, position: value}.items()) for value in nearer])
            proposal[position] = next(
                (value for value, crosses in zip(nearer, crossing, strict=True) if crosses), proposal[position]
            )
        return tuple((position, value) for position, value in proposal.items() if value != trials.row[0, position])

    def verified(self, trials: Trials, proposal: Proposal) -> Counterfactual | None:
        """Score and explain the changed row as a customer's own; None where it does not cross after all."""
        row = trials.row.copy()
        for position, value in proposal:
            row[0, position] = value
        trials.rows_left -= 1
        (after,) = self.model.explain_rows(row)
        if after.pd > trials.target_pd:
            return None
        names = self.model.bundle.schema.names
        changes = [Change(names[position], float(trials.row[0, position]), value) for position, value in proposal]
        return Counterfactual(
            changes=tuple(sorted(changes, key=lambda change: change.feature)),
            distance=self.distance(changes),
            pd=after.pd,
            score=after.score,
        )

    def distance(self, changes: Sequence[Change]) -> float:
        """Measure changes: the share of the baseline between old and new values, added."""
        return math.fsum(self.ladders[change.feature].distance(change.before, change.after) for change in changes)
