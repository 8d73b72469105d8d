"""Turns a unit into a decision tree over its own questions, which ends where every answer is known.

A question is left out where the answers before it imply its own: with x <= 3 known, x <= 5 need not be
asked. What is implied is kept per feature as the interval that is still possible for a present value,
and whether the value may still be missing; for a category feature as the codes that are still possible.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.export.trees import CategorySplit, Question, Split


@dataclass(frozen=True, slots=True)
class Possible:
    """What a feature's value can still be: present in (low, high], or missing."""

    low: float = -math.inf
    high: float = math.inf
    missing: bool = True

    def present(self) -> bool:
        """Tell whether the value can be present. No threshold is -inf, so -inf itself is in every (-inf, high]."""
        return self.low < self.high


@dataclass(frozen=True, slots=True)
class PossibleCodes:
    """What a category feature's code can still be.

    Attributes:
        among: The codes that are possible; None means all, those in no set included.
        excluded: Codes that are ruled out.
    """

    among: frozenset[int] | None = None
    excluded: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ask:
    """An inner node: ask the question, go on."""

    question: Question
    left: "Ask | Known"
    right: "Ask | Known"


@dataclass(frozen=True, slots=True)
class Known:
    """An end: every answer is known.

    Attributes:
        pattern: One answer per question of the unit, True for left.
    """

    pattern: tuple[bool, ...]


def pattern_tree(questions: Sequence[Question]) -> Ask | Known:
    """Build the decision tree that asks only what is not implied yet."""
    return ask(tuple(questions), (), {})


def ask(
    questions: tuple[Question, ...], known: tuple[bool, ...], possible: dict[int, Possible | PossibleCodes]
) -> Ask | Known:
    """Build the part of the tree below the answers in `known`."""
    if len(known) == len(questions):
        return Known(known)
    question = questions[len(known)]
    before = possible.get(question.feature)
    sides = {answer: after for answer in (True, False) if (after := narrowed(before, question, answer=answer))}
    below = {
        answer: ask(questions, (*known, answer), {**possible, question.feature: after})
        for answer, after in sides.items()
    }
    if len(below) == 1:
        return next(iter(below.values()))
    return Ask(question, below[True], below[False])


def narrowed(
    before: Possible | PossibleCodes | None, question: Question, *, answer: bool
) -> Possible | PossibleCodes | None:
    """Give what is possible after the answer, or None where the answer is impossible."""
    if isinstance(question, CategorySplit):
        codes = before if isinstance(before, PossibleCodes) else PossibleCodes()
        return narrowed_codes(codes, question, answer=answer)
    interval = before if isinstance(before, Possible) else Possible()
    return narrowed_interval(interval, question, answer=answer)


def narrowed_codes(before: PossibleCodes, question: CategorySplit, *, answer: bool) -> PossibleCodes | None:
    """Narrow the codes of a category feature."""
    if answer:
        among = question.codes if before.among is None else question.codes & before.among
        after = PossibleCodes(among - before.excluded)
    elif before.among is None:
        return PossibleCodes(None, before.excluded | question.codes)
    else:
        after = PossibleCodes(before.among - question.codes)
    return after if after.among else None


def narrowed_interval(before: Possible, question: Split, *, answer: bool) -> Possible | None:
    """Narrow the interval of a number feature."""
    missing = before.missing and question.missing_left == answer
    if answer:
        after = replace(before, high=min(before.high, question.threshold), missing=missing)
    else:
        after = replace(before, low=max(before.low, question.threshold), missing=missing)
    if not (before.present() and after.present()):
        # No present value is left; an empty interval, so that no later question finds one.
        after = replace(after, low=math.inf, high=-math.inf)
    return after if missing or after.present() else None
