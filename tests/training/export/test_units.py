"""The parts of the explanation, each against its definition written out: cuts, pattern trees, leaf tables."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import Rows
from tests.training.export.made import made_rows, model
from training.export.patterns import Ask, Known, pattern_tree
from training.export.shapley import contributions, kernel, leaf_table
from training.export.trees import Leaf, Node, Split, Tree, read_ensemble, splits_of
from training.export.units import DECISIONS_MAX, Unit, answers, cut

# --- cut -------------------------------------------------------------------------------------------------------------


def leaves_of(tree: Tree) -> list[float]:
    """Give the values of all leaves, left to right."""
    return [tree.value] if isinstance(tree, Leaf) else leaves_of(tree.left) + leaves_of(tree.right)


def chain(length: int, value: float = 0.0) -> Tree:
    """Give a tree that asks another feature at every step and goes on to the right."""
    tree: Tree = Leaf(value)
    for feature in reversed(range(length)):
        tree = Node(Split(feature, 0.0, missing_left=True), Leaf(value + feature + 1.0), tree)
    return tree


def goes_to(tree: Tree, row: Rows) -> float:
    """Follow one row through a tree."""
    while isinstance(tree, Node):
        value = row[tree.split.feature]
        left = tree.split.missing_left if math.isnan(value) else value <= tree.split.threshold
        tree = tree.left if left else tree.right
    return tree.value


def units_reached(units: list[Unit], row: Rows) -> list[float]:
    """Give the value of every path of every unit whose conditions the row meets."""
    reached = []
    for unit in units:
        given = answers(unit.questions, row[None])[0]
        reached += [
            path.value for path in unit.paths if all(given[step.question] == step.answer for step in path.conditions)
        ]
    return reached


def test_a_tree_of_eight_leaves_is_one_unit() -> None:
    trees = [tree for tree in read_ensemble(model("missing type NaN")).trees if len(leaves_of(tree)) == 8]

    assert trees
    assert all(len(list(cut(tree))) == 1 for tree in trees)


@pytest.mark.parametrize("name", ["deep trees", "features repeated on a path", "a leaf among trees"])
def test_every_leaf_is_in_one_unit_and_every_unit_asks_few_questions(name: str) -> None:
    for tree in read_ensemble(model(name)).trees:
        units = list(cut(tree))

        assert [path.value for unit in units for path in unit.paths] == leaves_of(tree)
        assert all(len(unit.questions) <= DECISIONS_MAX or len(unit.paths) == 1 for unit in units)


@pytest.mark.parametrize(
    "name", ["deep trees", "features repeated on a path", "missing types None and NaN in one model"]
)
def test_a_row_meets_one_path_of_all_units_of_a_tree_the_one_that_it_takes_through_the_tree(name: str) -> None:
    ensemble = read_ensemble(model(name))
    rows = made_rows(40, ensemble.feature_count, seed=77, gaps=0.2)
    for tree in ensemble.trees:
        units = list(cut(tree))

        assert all(units_reached(units, row) == [goes_to(tree, row)] for row in rows)


def test_a_leaf_deeper_than_the_cap_is_a_unit_of_its_own() -> None:
    units = list(cut(chain(10), decisions_max=4))

    assert [len(unit.paths) for unit in units] == [1] * 11
    assert [len(unit.questions) for unit in units] == [*range(1, 11), 10]


def test_a_question_asked_twice_in_a_tree_is_one_question_of_the_unit() -> None:
    again = Split(1, 2.0, missing_left=False)
    tree = Node(Split(0, 0.0, missing_left=True), Node(again, Leaf(1.0), Leaf(2.0)), Node(again, Leaf(3.0), Leaf(4.0)))

    (unit,) = cut(tree)

    assert unit.questions == (tree.split, again)


def test_a_leaf_alone_is_a_unit_without_questions() -> None:
    (unit,) = cut(Leaf(0.5))

    assert (unit.questions, [path.value for path in unit.paths]) == ((), [0.5])


# --- pattern_tree ----------------------------------------------------------------------------------------------------

THRESHOLDS = (-1.0, 0.0, 2.0, math.inf)
questions = st.lists(
    st.builds(Split, st.integers(0, 2), st.sampled_from(THRESHOLDS), missing_left=st.booleans()),
    max_size=6,
    unique=True,
).map(tuple)


def ends_of(tree: Ask | Known) -> Iterator[tuple[bool, ...]]:
    """Give the pattern of every end."""
    if isinstance(tree, Known):
        yield tree.pattern
    else:
        yield from ends_of(tree.left)
        yield from ends_of(tree.right)


def asked_on(tree: Ask | Known, row: Rows) -> tuple[list[Split], tuple[bool, ...]]:
    """Follow one row through a pattern tree: the questions it was asked, and the pattern at the end."""
    asked = []
    while isinstance(tree, Ask):
        asked.append(tree.question)
        tree = tree.left if answers((tree.question,), row[None])[0, 0] else tree.right
    return asked, tree.pattern


def every_kind_of_row() -> Rows:
    """Give rows with every combination of values that any of THRESHOLDS tells apart, infinities and missing too."""
    values = [
        math.nan,
        -math.inf,
        math.inf,
        -1.0,
        math.nextafter(-1.0, 0.0),
        0.0,
        5e-324,
        2.0,
        math.nextafter(2.0, 3.0),
    ]
    return np.array(list(itertools.product(values, repeat=3)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(asked=questions)
def test_every_pattern_that_a_row_can_have_is_an_end_once_and_no_other_is(asked: tuple[Split, ...]) -> None:
    rows = every_kind_of_row()

    ends = list(ends_of(pattern_tree(asked)))

    assert len(ends) == len(set(ends))
    assert set(ends) == {tuple(pattern) for pattern in answers(asked, rows).tolist()}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(asked=questions)
def test_every_row_ends_at_its_own_pattern_after_no_question_that_was_answered_already(
    asked: tuple[Split, ...],
) -> None:
    rows = every_kind_of_row()[::7]
    patterns = answers(asked, rows)
    tree = pattern_tree(asked)

    for row, pattern in zip(rows, patterns.tolist(), strict=True):
        put, found = asked_on(tree, row)
        assert found == tuple(pattern)
        assert len(put) == len(set(put))


def test_a_question_that_an_answer_implies_is_not_asked() -> None:
    low, high = Split(0, 3.0, missing_left=True), Split(0, 5.0, missing_left=True)

    tree = pattern_tree((low, high))

    assert tree == Ask(low, Known((True, True)), Ask(high, Known((False, True)), Known((False, False))))


def test_a_question_is_asked_where_only_a_missing_value_makes_it_a_question() -> None:
    low, high = Split(0, 3.0, missing_left=True), Split(0, 5.0, missing_left=False)

    tree = pattern_tree((low, high))

    assert isinstance(tree, Ask)
    assert tree.left == Ask(high, Known((True, True)), Known((True, False)))


def test_nothing_is_asked_of_no_questions() -> None:
    assert pattern_tree(()) == Known(())


# --- leaf tables -----------------------------------------------------------------------------------------------------


def literal_shapley(row_meets: set[int], baseline_meets: set[int], width: int) -> list[float]:
    """Give the Shapley values of the game "every feature's condition is met", straight from the formula."""

    def worth(coalition: set[int]) -> int:
        return all(f in (row_meets if f in coalition else baseline_meets) for f in range(width))

    values = []
    for feature in range(width):
        value = 0.0
        for size in range(width):
            weight = math.factorial(size) * math.factorial(width - size - 1) / math.factorial(width)
            for others in itertools.combinations([f for f in range(width) if f != feature], size):
                value += weight * (worth({*others, feature}) - worth(set(others)))
        values.append(value)
    return values


def members(bits: int, width: int) -> set[int]:
    """Give the set that the bits stand for."""
    return {feature for feature in range(width) if bits >> feature & 1}


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_the_kernel_of_a_leaf_is_the_literal_shapley_formula(width: int) -> None:
    sets = range(1 << width)
    wanted = [[literal_shapley(members(o, width), members(z, width), width) for z in sets] for o in sets]

    np.testing.assert_allclose(kernel(width), np.array(wanted), rtol=0.0, atol=1e-15)


def test_the_table_of_a_leaf_is_its_value_times_the_mean_over_the_baseline() -> None:
    baseline = np.array([0, 3, 3, 5, 7, 7, 7, 6])

    found = leaf_table(-2.5, baseline, 3)

    wanted = [-2.5 * np.mean([literal_shapley(members(o, 3), members(z, 3), 3) for z in baseline], 0) for o in range(8)]
    np.testing.assert_allclose(found, np.array(wanted), rtol=0.0, atol=1e-15)


def test_conditions_on_one_feature_are_one_condition() -> None:
    """f0 > 1 and f0 <= 3 is one player of the game, whatever the number of splits."""
    low, high = Split(0, 1.0, missing_left=True), Split(0, 3.0, missing_left=True)
    (unit,) = cut(Node(low, Leaf(0.0), Node(high, Leaf(6.0), Leaf(0.0))))
    rows, baseline = np.array([[2.0], [0.0], [4.0]]), np.array([[0.0], [2.0], [9.0]])

    found = contributions(unit, answers(unit.questions, rows), answers(unit.questions, baseline))

    np.testing.assert_allclose(found, [[4.0], [-2.0], [-2.0]], rtol=0.0, atol=1e-15)


def test_a_unit_of_the_whole_tree_and_units_of_few_decisions_explain_alike() -> None:
    rows = made_rows(50, 6, seed=77, gaps=0.1)
    for tree in read_ensemble(model("missing type NaN")).trees:
        totals = []
        for decisions_max in (1, 3, 7, 30):
            total = np.zeros((50, 6))
            for unit in cut(tree, decisions_max):
                given = answers(unit.questions, rows)
                total[:, list(unit.features())] += contributions(unit, given, given[:20])
            totals.append(total)

        assert len(list(splits_of(tree))) <= 30
        for total in totals[1:]:
            np.testing.assert_allclose(total, totals[0], rtol=0.0, atol=1e-14)
