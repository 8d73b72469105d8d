"""Cuts trees into units: subtrees small enough that every combination of their decisions fits in a table."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.trees import CategorySplit, Leaf, Node, Question, Tree, splits_of

# Units of at most 7 decisions: a tree of 8 leaves is one unit, so the explanation has as many trees as
# the model. Measured in tests/bench; larger caps double the table with every decision.
DECISIONS_MAX = 7
CODE_MAX = 2147483647.0  # LightGBM casts to a 32-bit integer


@dataclass(frozen=True, slots=True)
class Condition:
    """One answer on the way to a leaf.

    Attributes:
        question: Its index in the unit.
        answer: True for left.
        cover: The share of the split's training rows that gave this answer.
    """

    question: int
    answer: bool
    cover: float


@dataclass(frozen=True, slots=True)
class Path:
    """One leaf of the model: its value and the answers that lead to it."""

    value: float
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of one tree whose contributions depend on the answers to `questions` alone."""

    questions: tuple[Question, ...]
    paths: tuple[Path, ...]

    def features(self) -> tuple[int, ...]:
        """Give the features that the unit asks about, in ascending order."""
        return tuple(sorted({question.feature for question in self.questions}))


Step = tuple[Question, bool, float]  # a question on the way, its answer, the answer's cover


def cut(tree: Tree, decisions_max: int = DECISIONS_MAX) -> Iterator[Unit]:
    """Cut a tree into the largest subtrees that ask at most `decisions_max` questions each.

    A unit's questions are those on the way to it and those inside it. A leaf that lies deeper than
    `decisions_max` is a unit of its own, however many questions lead to it.
    """
    yield from cut_below(tree, (), decisions_max)


def cut_below(tree: Tree, way: tuple[Step, ...], decisions_max: int) -> Iterator[Unit]:
    """Cut the subtree that the answers in `way` lead to."""
    questions = tuple(dict.fromkeys([question for question, _, _ in way] + list(splits_of(tree))))
    if isinstance(tree, Leaf) or len(questions) <= decisions_max:
        yield Unit(questions, tuple(paths_of(tree, way, questions)))
        return
    for side in sides_of(tree):
        yield from cut_below(side[0], (*way, side[1]), decisions_max)


def sides_of(node: Node) -> tuple[tuple[Tree, Step], tuple[Tree, Step]]:
    """Give both sides of a split, each with the step that leads to it."""
    left, right = (side.count / node.count if node.count else 0.0 for side in (node.left, node.right))
    return (node.left, (node.split, True, left)), (node.right, (node.split, False, right))


def paths_of(tree: Tree, way: tuple[Step, ...], questions: tuple[Question, ...]) -> Iterator[Path]:
    """Give every leaf below with the answers that lead to it."""
    if isinstance(tree, Node):
        for side, step in sides_of(tree):
            yield from paths_of(side, (*way, step), questions)
    else:
        yield Path(tree.value, tuple(Condition(questions.index(split), answer, cover) for split, answer, cover in way))


def answers(questions: tuple[Question, ...], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answer every question for every row: shape (rows, questions), True where the row goes left."""
    columns = [answer(question, rows) for question in questions]
    return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), dtype=np.bool_)


def answer(question: Question, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answer one question for every row."""
    values = rows[:, question.feature]
    if isinstance(question, CategorySplit):
        return np.isin(codes_of(values), sorted(question.codes))
    left: NDArray[np.bool_] = np.where(np.isnan(values), question.missing_left, values <= question.threshold)
    return left


def codes_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut values to codes as LightGBM does; -1, which is in no set, where there is none."""
    valid = (values > -1.0) & (values <= CODE_MAX)  # False for NaN
    codes: NDArray[np.int64] = np.where(valid, np.trunc(np.where(valid, values, 0.0)), -1.0).astype(np.int64)
    return codes
