"""Branch-and-bound search for the smallest changes of a row that bring its pd to a target.

A row *crosses* if its pd is at most the target. The candidate values of each feature are ordered from near to far from
its current value. A *span* is a run of consecutive candidates. A *box* is one span for each feature of a set, and
stands for every change that takes one value from each span. The *far corner* of a box is the change that takes the last
value of each span. If a feature has a sign (a monotone constraint), all its candidates lie on the side of the current
value on which the risk falls, so a farther candidate is never riskier than a nearer one. Therefore a box contains a
crossing row only if its far corner crosses, and one scored row decides about the whole box. The search

1. combines the spans of all candidates to boxes, scores the far corner of each box, and drops the boxes whose far corner
   does not cross (`crossing_boxes`);
2. halves the cheapest remaining boxes and drops the halves whose far corner does not cross, until the cheapest box is a
   single point. This point is the smallest crossing change of its features (`cheapest_points`).

A feature without a sign gets a separate span for each candidate, because its farthest candidate does not limit the risk
of the other candidates.

The method is from A. H. Land and A. G. Doig, An Automatic Method of Solving Discrete Programming Problems, 1960; the problem
is from B. Ustun, A. Spangher and Y. Liu, Actionable Recourse in Linear Classification, 2019.
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

_CORNERS_MAX = 1000  # the largest number of far corners to score for each number of features
# The largest number of combinations of spans to list. There are 5,984 combinations of three spans if there are 34 spans: for
# example, 16 spans for each of two features without a sign, and one span for each of two features with a sign.
_COMBINATIONS_MAX = 6_000
_BOXES_AT_ONCE = 16  # boxes halved with one call of ONNX Runtime

Proposal = tuple[tuple[int, float], ...]  # positions of features and their new values


class TrialScorer:
    """Scores changed copies of one row, and counts them.

    Attributes:
        row: Shape (1, n_features), NaN where missing.
        target_pd: The largest pd at which a row crosses: the cut-off, not rounded.
        rows_left: How many copies may still be scored.
    """

    def __init__(self, model: Model, row: NDArray[np.float64], target_pd: float, rows_max: int) -> None:
        self._model = model
        self.row = row
        self.target_pd = target_pd
        self.rows_left = rows_max

    def margins(self, proposals: Sequence[Proposal]) -> list[float]:
        """Return the margin of each changed copy."""
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
        """Return for each changed copy whether its pd is at most the target."""
        return [self.is_crossing(margin) for margin in self.margins(proposals)]

    def is_crossing(self, margin: float) -> bool:
        """Return whether a margin's pd is at most the target."""
        # The pd is computed with the functions that compute the pd of an answer. A comparison of margins could have a
        # different result near the cut-off, because each function rounds.
        return pd_from_log_odds(log_odds_from_margin(self._model.bundle.scorecard, margin)) <= self.target_pd


@dataclass(frozen=True, slots=True)
class ValueSpan:
    """The candidates `first` to `last`, inclusive, of one feature."""

    name: str
    first: int
    last: int
    candidates: CandidateList

    @property
    def cost(self) -> tuple[float, float]:
        """Return the cost of the near end and the cost of the far end."""
        return self.candidates.costs[self.first], self.candidates.costs[self.last]

    @property
    def far(self) -> tuple[int, float]:
        """Return the position of the feature, and its value at the far end."""
        return self.candidates.position, self.candidates.values[self.last]

    def halves(self) -> tuple["ValueSpan", "ValueSpan"]:
        """Return the nearer and the farther half of a span of two or more candidates; neither is empty."""
        middle = (self.first + self.last) // 2
        return (
            ValueSpan(self.name, self.first, middle, self.candidates),
            ValueSpan(self.name, middle + 1, self.last, self.candidates),
        )


@dataclass(frozen=True, slots=True)
class Box:
    """Spans of different features, sorted by name. The search drops a box as soon as its far corner does not cross."""

    spans: tuple[ValueSpan, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features that change."""
        return tuple(span.name for span in self.spans)

    @property
    def far_corner(self) -> Proposal:
        """Return the change that takes the last value of each span, which is the largest change in the box."""
        return tuple(span.far for span in self.spans)

    @property
    def order(self) -> tuple[float, tuple[str, ...], tuple[tuple[int, int], ...]]:
        """Return the sort key: the lower bound of the cost of the changes in the box, then names and indices to break ties."""
        near = math.fsum(span.cost[0] for span in self.spans)
        return near, self.names, tuple((span.first, span.last) for span in self.spans)

    @property
    def is_point(self) -> bool:
        """Return True if every span has only one candidate, so that the box is a single change."""
        return all(span.first == span.last for span in self.spans)

    def halves(self) -> tuple["Box", "Box"]:
        """Return the nearer and the farther half of a box that is not a point."""
        # The widest span is halved, because this usually raises the lower bound of the farther half the most.
        widths = [(span.cost[1] - span.cost[0], span.last - span.first) for span in self.spans]
        widest = max((index for index, (_, count) in enumerate(widths) if count), key=lambda index: widths[index])
        near, far = self.spans[widest].halves()
        before, after = self.spans[:widest], self.spans[widest + 1 :]
        # The far corner of the farther half is the far corner of the whole box, which is known to cross. It is not scored again.
        return Box((*before, near, *after)), Box((*before, far, *after))


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A span, and the margin of the row in which only one value is changed: to the value at the far end of the span."""

    span: ValueSpan
    margin: float


def scored_spans(candidates: Sequence[CandidateList], trials: TrialScorer) -> tuple[list[ScoredSpan], bool]:
    """Return the spans to combine, most promising first.

    Args:
        candidates: The candidates of each feature that may change.
        trials: Scores the far ends.

    Returns:
        The spans, one for each feature with a sign and one for each candidate of the other features; and a flag, which
        is False if there are too many spans and some were left out.
    """
    spans = []
    for feature in candidates:
        last = len(feature.values) - 1
        ends = [(0, last)] if feature.ordered else [(index, index) for index in range(last + 1)]
        spans += [ValueSpan(feature.name, *pair, feature) for pair in ends if feature.values]
    nearest = sorted(spans, key=lambda span: (span.cost[1], span.name, span.first))[:_CORNERS_MAX]
    margins = trials.margins([(span.far,) for span in nearest])
    scored = [ScoredSpan(span, margin) for span, margin in zip(nearest, margins, strict=True)]
    scored.sort(key=lambda each: (each.margin, each.span.name, each.span.first))
    # The best span of each feature comes first, then the second best span of each feature, and so on. If there are too
    # many combinations, only the front of the list is used, and one feature with many candidates must not fill it.
    counts: Counter[str] = Counter()
    ranked = []
    for each in scored:
        ranked.append((counts[each.span.name], each))
        counts[each.span.name] += 1
    ranked.sort(key=lambda pair: pair[0])  # stable: within one rank the lowest margin stays first
    return [each for _, each in ranked], len(nearest) == len(spans)


def crossing_boxes(
    spans: Sequence[ScoredSpan], size: int, answered: Sequence[frozenset[str]], trials: TrialScorer
) -> tuple[list[Box], bool]:
    """Return the boxes of `size` features whose far corner crosses.

    Args:
        spans: The result of `scored_spans`.
        size: How many features change.
        answered: Sets of features for which a crossing change was already found. A superset of such a set is skipped, because it changes
            more features.
        trials: Scores the corners.

    Returns:
        The boxes; and a flag, which is False if there are too many corners and only the most promising ones were
        scored, so that other boxes of this size may cross.
    """
    if size == 1:
        return [Box((each.span,)) for each in spans if trials.is_crossing(each.margin)], True
    sufficient = {name for names in answered if len(names) == 1 for name in names}
    useful = [each for each in spans if each.span.name not in sufficient]
    # Limit the number of combinations, because merely listing all of them could take longer than scoring _CORNERS_MAX of them.
    count = len(useful)
    while math.comb(count, size) > _COMBINATIONS_MAX:
        count -= 1
    wanted = [combination for combination in combinations(useful[:count], size) if _is_new(combination, answered)]
    # The sum of margins ranks combinations as if effects were additive. The ranking only chooses which corners are
    # scored: a box is returned only if its corner is scored and crosses.
    best = heapq.nsmallest(_CORNERS_MAX, wanted, key=lambda combination: sum(each.margin for each in combination))
    boxes = [
        Box(tuple(sorted((each.span for each in combination), key=lambda span: span.name))) for combination in best
    ]
    crossing = trials.are_crossing([box.far_corner for box in boxes])
    found = [box for box, crosses in zip(boxes, crossing, strict=True) if crosses]
    return found, count == len(useful) and len(best) == len(wanted)


def _is_new(combination: Sequence[ScoredSpan], answered: Sequence[frozenset[str]]) -> bool:
    """Return True if the spans belong to different features, and no answered set is a subset of these features."""
    names = {each.span.name for each in combination}
    return len(names) == len(combination) and not any(answer <= names for answer in answered)


def cheapest_points(
    boxes: Sequence[Box], wanted: int, trials: TrialScorer, rows_reserved: int
) -> tuple[list[Box], bool]:
    """Return the cheapest crossing point of each of the `wanted` cheapest sets of features.

    Args:
        boxes: Boxes whose far corners cross.
        wanted: The largest number of points to return.
        trials: Scores the corners.
        rows_reserved: How many of `trials.rows_left` must be left at the end, for later steps. The search stops early if
            it would score these rows.

    Returns:
        The points; and a flag, which is False if the search stopped early. In this case, the far corners of the
        cheapest boxes replace the points that were not found. These corners cross, but may change more than needed.
    """
    found: list[Box] = []
    queue = sorted(boxes, key=lambda box: box.order)
    while queue and len(found) < wanted:
        if queue[0].is_point:
            # No other box can contain a cheaper row, because the queue is sorted by the lower bounds of the costs.
            found.append(queue[0])
            queue = [box for box in queue if box.names != found[-1].names]
        elif trials.rows_left - rows_reserved < _BOXES_AT_ONCE:
            return [*found, *_far_points(queue, wanted - len(found))], False
        else:
            queue = sorted(_halve_boxes(queue, trials), key=lambda box: box.order)
    return found, True


def _halve_boxes(queue: Sequence[Box], trials: TrialScorer) -> list[Box]:
    """Return the queue with its first boxes halved, without the halves that contain no crossing row."""
    first = list(islice((box for box in queue if not box.is_point), _BOXES_AT_ONCE))
    pairs = [box.halves() for box in first]
    crossing = trials.are_crossing([near.far_corner for near, _ in pairs])
    near_halves = [near for (near, _), crosses in zip(pairs, crossing, strict=True) if crosses]
    halved = {id(box) for box in first}
    return [*near_halves, *(far for _, far in pairs), *(box for box in queue if id(box) not in halved)]


def _far_points(queue: Sequence[Box], wanted: int) -> list[Box]:
    """Return the far corner, as a point, of the first box of each set of features; at most `wanted` points."""
    points: dict[tuple[str, ...], Box] = {}
    for box in queue:
        point = Box(tuple(ValueSpan(span.name, span.last, span.last, span.candidates) for span in box.spans))
        points.setdefault(box.names, point)
    return list(points.values())[:wanted]
