"""The smallest changes of a row that bring it across a cut-off.

A set of features that change together is a box: of each feature a span of its offered values, nearest first. Where a
feature has a sign, farther is never riskier, so a box holds a crossing row only if its far corner crosses. Far corners
thus say which sets of features can cross at all, and halving the cheapest box again and again gives the cheapest
crossing row without trying all of them. A feature without sign has a box for each of its values.
"""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from models.candidate_values import CandidateList
from models.model import Model
from models.scorecard import log_odds_from_margin, pd_from_log_odds

CORNERS_MAX = 1000  # far corners scored for each number of features
COMBINATIONS_MAX = 6_000  # far corners thought of: all of two unsigned features beside two signed ones
BOXES_AT_ONCE = 16  # halved with one call of the runtime

Proposal = tuple[tuple[int, float], ...]  # positions and their new values


class TrialScorer:
    """Scores changed copies of one row, and counts them.

    Attributes:
        rows_left: How many may still be scored.
    """

    def __init__(self, model: Model, row: NDArray[np.float64], target_pd: float, rows_max: int) -> None:
        self._model = model
        self.row = row
        self.target_pd = target_pd
        self.rows_left = rows_max

    def margins(self, proposals: Sequence[Proposal]) -> list[float]:
        """Give the margin of each changed copy."""
        if not proposals:
            return []
        self.rows_left -= len(proposals)
        rows = np.repeat(self.row, len(proposals), axis=0)
        for index, proposal in enumerate(proposals):
            for position, value in proposal:
                rows[index, position] = value
        margins: list[float] = self._model.scorer.margins(rows).tolist()
        return margins

    def are_crossing(self, proposals: Sequence[Proposal]) -> list[bool]:
        """Tell of each changed copy whether its pd is at most the target."""
        return [self.is_crossing(margin) for margin in self.margins(proposals)]

    def is_crossing(self, margin: float) -> bool:
        """Tell whether a margin's pd is at most the target, by the very sums that give the answer's pd."""
        return pd_from_log_odds(log_odds_from_margin(self._model.bundle.scorecard, margin)) <= self.target_pd


@dataclass(frozen=True, slots=True)
class ValueSpan:
    """Offered values `first` to `last` of one feature."""

    name: str
    first: int
    last: int
    candidates: CandidateList

    @property
    def cost(self) -> tuple[float, float]:
        """Give the costs of its near and its far end."""
        return self.candidates.costs[self.first], self.candidates.costs[self.last]

    @property
    def far(self) -> tuple[int, float]:
        """Give the change to its far end."""
        return self.candidates.position, self.candidates.values[self.last]

    def halves(self) -> tuple["ValueSpan", "ValueSpan"]:
        """Give the nearer and the farther half; both hold a value."""
        middle = (self.first + self.last) // 2
        return (
            ValueSpan(self.name, self.first, middle, self.candidates),
            ValueSpan(self.name, middle + 1, self.last, self.candidates),
        )


@dataclass(frozen=True, slots=True)
class Box:
    """Spans of different features, by name; its far corner crosses."""

    spans: tuple[ValueSpan, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name the features."""
        return tuple(span.name for span in self.spans)

    @property
    def far_corner(self) -> Proposal:
        """Give the largest change of the box."""
        return tuple(span.far for span in self.spans)

    @property
    def order(self) -> tuple[float, tuple[str, ...], tuple[tuple[int, int], ...]]:
        """Sort by what a row of the box costs at least; then by name."""
        near = math.fsum(span.cost[0] for span in self.spans)
        return near, self.names, tuple((span.first, span.last) for span in self.spans)

    @property
    def is_point(self) -> bool:
        """Tell whether the box is its far corner alone."""
        return all(span.first == span.last for span in self.spans)

    def halves(self) -> tuple["Box", "Box"]:
        """Give the nearer and the farther half; the farther has the same far corner, so it crosses too."""
        widths = [(span.cost[1] - span.cost[0], span.last - span.first) for span in self.spans]
        widest = max((index for index, (_, count) in enumerate(widths) if count), key=lambda index: widths[index])
        near, far = self.spans[widest].halves()
        before, after = self.spans[:widest], self.spans[widest + 1 :]
        return Box((*before, near, *after)), Box((*before, far, *after))


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A span as it stands at the start, and the margin that its far end alone gives."""

    span: ValueSpan
    margin: float


def scored_spans(offers: Sequence[CandidateList], trials: TrialScorer) -> tuple[list[ScoredSpan], bool]:
    """Give the spans to combine, and whether these are all: the best of each feature first, then the second best.

    One span of a feature with a sign, one for each value of a feature without.
    """
    spans = []
    for offer in offers:
        last = len(offer.values) - 1
        pairs = [(0, last)] if offer.ordered else [(index, index) for index in range(last + 1)]
        spans += [ValueSpan(offer.name, *pair, offer) for pair in pairs if offer.values]
    kept = sorted(spans, key=lambda span: (span.cost[1], span.name, span.first))[:CORNERS_MAX]
    margins = trials.margins([(span.far,) for span in kept])
    choices = [ScoredSpan(span, margin) for span, margin in zip(kept, margins, strict=True)]
    choices.sort(key=lambda choice: (choice.margin, choice.span.name, choice.span.first))
    place: Counter[str] = Counter()
    placed = []
    for choice in choices:
        placed.append((place[choice.span.name], choice))
        place[choice.span.name] += 1
    placed.sort(key=lambda pair: pair[0])
    return [choice for _, choice in placed], len(kept) == len(spans)


def crossing_boxes(
    choices: Sequence[ScoredSpan], size: int, answered: Sequence[frozenset[str]], trials: TrialScorer
) -> tuple[list[Box], bool]:
    """Give the boxes of `size` features whose far corner crosses, and whether no other can.

    Where there are too many to score, those are taken whose single changes together promise the lowest margin.

    Args:
        choices: The best first.
        size: How many features change.
        answered: Sets of features that need no box any more, nor any set that holds one of them.
        trials: Scores the corners.
    """
    if size == 1:
        return [Box((choice.span,)) for choice in choices if trials.is_crossing(choice.margin)], True
    alone = {name for answer in answered if len(answer) == 1 for name in answer}
    useful = [choice for choice in choices if choice.span.name not in alone]
    enough = len(useful)
    while math.comb(enough, size) > COMBINATIONS_MAX:
        enough -= 1
    wanted = [combined for combined in combinations(useful[:enough], size) if _is_uncovered(combined, answered)]
    kept = heapq.nsmallest(CORNERS_MAX, wanted, key=lambda combined: sum(choice.margin for choice in combined))
    boxes = [Box(tuple(sorted((choice.span for choice in combined), key=_span_name))) for combined in kept]
    crossing = trials.are_crossing([box.far_corner for box in boxes])
    found = [box for box, crosses in zip(boxes, crossing, strict=True) if crosses]
    return found, enough == len(useful) and len(kept) == len(wanted)


def _is_uncovered(combined: Sequence[ScoredSpan], answered: Sequence[frozenset[str]]) -> bool:
    """Tell whether the features are different ones, and no answer is among them."""
    names = {choice.span.name for choice in combined}
    return len(names) == len(combined) and not any(answer <= names for answer in answered)


def _span_name(span: ValueSpan) -> str:
    """Sort spans by name."""
    return span.name


def cheapest_points(
    boxes: Sequence[Box], wanted: int, trials: TrialScorer, rows_reserved: int
) -> tuple[list[Box], bool]:
    """Give the cheapest crossing point of each of the `wanted` cheapest sets of features, and whether it is that.

    Args:
        boxes: Their far corners cross.
        wanted: How many sets of features.
        trials: Scores the corners.
        rows_reserved: Where no more rows are left than that, the far corners of the cheapest boxes are given instead.
    """
    found: list[Box] = []
    queue = sorted(boxes, key=lambda box: box.order)
    while queue and len(found) < wanted:
        if queue[0].is_point:
            found.append(queue[0])
            queue = [box for box in queue if box.names != found[-1].names]
        elif trials.rows_left - rows_reserved < BOXES_AT_ONCE:
            return [*found, *_far_points(queue, wanted - len(found))], False
        else:
            queue = sorted(_halve_boxes(queue, trials), key=lambda box: box.order)
    return found, True


def _halve_boxes(queue: Sequence[Box], trials: TrialScorer) -> list[Box]:
    """Halve the first boxes of the queue, and drop the halves in which nothing crosses."""
    first = list(islice((box for box in queue if not box.is_point), BOXES_AT_ONCE))
    pairs = [box.halves() for box in first]
    crossing = trials.are_crossing([near.far_corner for near, _ in pairs])
    kept = [near for (near, _), crosses in zip(pairs, crossing, strict=True) if crosses]
    taken = {id(box) for box in first}
    return [*kept, *(far for _, far in pairs), *(box for box in queue if id(box) not in taken)]


def _far_points(queue: Sequence[Box], wanted: int) -> list[Box]:
    """Give the far corners of the first boxes of different sets of features, as points."""
    found: dict[tuple[str, ...], Box] = {}
    for box in queue:
        point = Box(tuple(ValueSpan(span.name, span.last, span.last, span.candidates) for span in box.spans))
        found.setdefault(box.names, point)
    return list(found.values())[:wanted]
