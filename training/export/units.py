"""Cuts trees into units: subtrees small enough that every combination of their decisions fits in a table."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.export.trees import Leaf, Node, Split, Tree, splits_of

# Units of at most 7 decisions: a tree of 8 leaves is one unit, so the explanation has as many trees as
# the model. Measured in tests/bench; larger caps double the table with every decision.
DECISIONS_MAX = 7


@dataclass(frozen=True, slots=True)
class Path:
    """One leaf of the model: its value and the answers that lead to it.

    Attributes:
        conditions: (question, answer) for every split on the way, the question as its index in the
            unit, the answer True for left.
    """

    value: float
    conditions: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of one tree whose contributions depend on the answers to `questions` alone."""

    questions: tuple[Split, ...]
    paths: tuple[Path, ...]

    def features(self) -> tuple[int, ...]:
        """Give the features that the unit asks about, in ascending order."""
        return tuple(sorted({question.feature for question in self.questions}))


def cut(tree: Tree, decisions_max: int = DECISIONS_MAX) -> Iterator[Unit]:
    """Cut a tree into the largest subtrees that ask at most `decisions_max` questions each.

    A unit's questions are those on the way to it and those inside it. A leaf that lies deeper than
    `decisions_max` is a unit of its own, however many questions lead to it.
    """
    yield from cut_below(tree, (), decisions_max)


def cut_below(tree: Tree, way: tuple[tuple[Split, bool], ...], decisions_max: int) -> Iterator[Unit]:
    """Cut the subtree that the answers in `way` lead to."""
    questions = tuple(dict.fromkeys([split for split, _ in way] + list(splits_of(tree))))
    if isinstance(tree, Leaf) or len(questions) <= decisions_max:
        yield Unit(questions, tuple(paths_of(tree, way, questions)))
        return
    yield from cut_below(tree.left, (*way, (tree.split, True)), decisions_max)
    yield from cut_below(tree.right, (*way, (tree.split, False)), decisions_max)


def paths_of(tree: Tree, way: tuple[tuple[Split, bool], ...], questions: tuple[Split, ...]) -> Iterator[Path]:
    """Give every leaf below with the answers that lead to it."""
    if isinstance(tree, Node):
        yield from paths_of(tree.left, (*way, (tree.split, True)), questions)
        yield from paths_of(tree.right, (*way, (tree.split, False)), questions)
    else:
        yield Path(tree.value, tuple((questions.index(split), answer) for split, answer in way))


def answers(questions: tuple[Split, ...], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answer every question for every row: shape (rows, questions), True where the row goes left."""
    columns = [answer(question, rows) for question in questions]
    return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), dtype=np.bool_)


def answer(question: Split, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answer one question for every row."""
    values = rows[:, question.feature]
    left: NDArray[np.bool_] = np.where(np.isnan(values), question.missing_left, values <= question.threshold)
    return left
