"""Turns a unit into a decision tree over its own questions, which ends where every answer is known.

A question is left out where the answers before it imply its own: with x <= 3 known, x <= 5 need not be
asked. What is implied is kept per feature as the interval that is still possible for a present value,
and whether the value may still be missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.export.trees import Split


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
class Ask:
    """An inner node: ask the question, go on."""

    question: Split
    left: "Ask | Known"
    right: "Ask | Known"


@dataclass(frozen=True, slots=True)
class Known:
    """An end: every answer is known.

    Attributes:
        pattern: One answer per question of the unit, True for left.
    """

    pattern: tuple[bool, ...]


def pattern_tree(questions: Sequence[Split]) -> Ask | Known:
    """Build the decision tree that asks only what is not implied yet."""
    return ask(tuple(questions), (), {})


def ask(questions: tuple[Split, ...], known: tuple[bool, ...], possible: dict[int, Possible]) -> Ask | Known:
    """Build the part of the tree below the answers in `known`."""
    if len(known) == len(questions):
        return Known(known)
    question = questions[len(known)]
    before = possible.get(question.feature, Possible())
    sides = {answer: after for answer in (True, False) if (after := narrowed(before, question, answer=answer))}
    below = {
        answer: ask(questions, (*known, answer), {**possible, question.feature: after})
        for answer, after in sides.items()
    }
    if len(below) == 1:
        return next(iter(below.values()))
    return Ask(question, below[True], below[False])


def narrowed(before: Possible, question: Split, *, answer: bool) -> Possible | None:
    """Give what is possible after the answer, or None where the answer is impossible."""
    missing = before.missing and question.missing_left == answer
    if answer:
        after = replace(before, high=min(before.high, question.threshold), missing=missing)
    else:
        after = replace(before, low=max(before.low, question.threshold), missing=missing)
    if not (before.present() and after.present()):
        # No present value is left; an empty interval, so that no later question finds one.
        after = replace(after, low=math.inf, high=-math.inf)
    return after if missing or after.present() else None
