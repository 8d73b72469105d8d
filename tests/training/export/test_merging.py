"""Units are joined by least growth, within what their tables may take, and always to the same ones."""

import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest

from tests.training.export.example_models import example_rows, fit
from training.export.bins import ensemble_bins
from training.export.explain import explain_onnx
from training.export.leaf_groups import LeafGroup, initial_groups, merge_groups
from training.export.merging import COMPARED_MAX, MergeSearch, TableBudget, merge_within_budget, merged_cell_count
from training.export.trees import Ensemble, read_ensemble

LINE, UNIT = 80, 300


@cache
def small_model() -> Ensemble:
    """Give 30 trees of 8 leaves over 9 features that were missing at times."""
    return read_ensemble(fit(example_rows(600, 10, gaps=0.1), {"feature_fraction": 0.5}, 30))


@cache
def pieces() -> list[LeafGroup]:
    """Cut that model: some pieces ask alike."""
    return initial_groups(small_model(), ensemble_bins(small_model()))


def room(bytes_max: int, cells_max: int = 10**6, features_max: int = 10) -> TableBudget:
    """Give room for lines of 10 numbers."""
    return TableBudget(bytes_max, LINE, UNIT, cells_max, features_max)


def size_of(units: list[LeafGroup]) -> int:
    """Give what the tables take."""
    return sum(unit.cell_count for unit in units) * LINE + len(units) * UNIT


def growth(one: LeafGroup, other: LeafGroup) -> int:
    """Give how many cells are added where two are joined, by joining them."""
    return merge_groups(one, other).cell_count - one.cell_count - other.cell_count


def test_the_pieces_of_these_tests_are_no_more_than_a_unit_is_compared_with() -> None:
    assert 20 < len(pieces()) <= COMPARED_MAX


def test_the_cells_of_both_are_those_of_the_joined_unit_or_too_many() -> None:
    for one, other in itertools.permutations(pieces()[:25], 2):
        cells = merge_groups(one, other).cell_count

        assert merged_cell_count(one, other, cells) == cells
        assert merged_cell_count(one, other, cells - 1) is None


@pytest.mark.parametrize("bytes_max", [0, 200_000])
def test_the_best_candidate_of_a_unit_grows_least_of_all_its_pairs(bytes_max: int) -> None:
    units = merge_within_budget(pieces(), room(bytes_max))
    places = MergeSearch(units, room(bytes_max))
    for place, unit in enumerate(units):
        least = min(growth(unit, other) for other in units if other is not unit)

        pair = places.best_candidate(place)

        assert pair is not None
        assert (pair.growth, pair.first) == (least, place)
        assert growth(unit, units[pair.second]) == least


def test_a_bound_is_never_more_than_a_pair_grows() -> None:
    places = MergeSearch(pieces(), room(0))
    for place, unit in enumerate(pieces()):
        others, bounds = places.partners(place)

        assert others.tolist() == [other for other in range(len(pieces())) if other != place]
        assert all(bound <= growth(unit, pieces()[other]) for other, bound in zip(others, bounds, strict=True))


def test_every_leaf_is_in_one_unit_however_many_are_joined() -> None:
    leaves = Counter(path.value for unit in pieces() for path in unit.paths)
    for bytes_max in (0, 50_000, 10**8):
        units = merge_within_budget(pieces(), room(bytes_max))

        assert Counter(path.value for unit in units for path in unit.paths) == leaves
    assert len(units) < len(pieces()) / 5


def test_the_tables_fill_what_they_may_take_and_no_more() -> None:
    least = size_of(merge_within_budget(pieces(), room(0)))
    assert least < size_of(pieces())
    counts = []
    for bytes_max in range(least, 30 * least, least):
        units = merge_within_budget(pieces(), room(bytes_max))
        counts.append(len(units))

        assert size_of(units) <= bytes_max
        more = min(growth(one, other) for one, other in itertools.combinations(units, 2)) * LINE - UNIT
        assert size_of(units) + more > bytes_max
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


def test_what_makes_the_tables_smaller_is_joined_even_beyond_what_they_may_take() -> None:
    units = merge_within_budget(pieces(), room(0))

    assert all(growth(one, other) * LINE > UNIT for one, other in itertools.combinations(units, 2))


@pytest.mark.parametrize(("cells_max", "features_max"), [(100, 10), (10**6, 5), (40, 4)])
def test_a_joined_unit_has_no_more_cells_and_features_than_it_may(cells_max: int, features_max: int) -> None:
    assert max(unit.cell_count for unit in pieces()) > 40

    units = merge_within_budget(pieces(), room(10**8, cells_max, features_max))

    most = max(cells_max, *(unit.cell_count for unit in pieces()))
    assert len(units) < len(pieces())
    assert all(unit.cell_count <= most for unit in units)
    assert all(len(unit.digits) <= features_max or unit in pieces() for unit in units)
    assert any(unit.cell_count > cells_max / 2 or len(unit.digits) == features_max for unit in units)


def test_leaves_of_more_cells_than_a_unit_may_have_are_joined_where_they_ask_alike() -> None:
    alike = merge_within_budget([pieces()[0], pieces()[0]], room(0, cells_max=1))

    assert [unit.cell_count for unit in alike] == [pieces()[0].cell_count]


def test_a_joined_unit_stands_where_its_first_one_stood() -> None:
    unlike = next(unit for unit in pieces() if growth(pieces()[0], unit) * LINE > UNIT)

    units = merge_within_budget([unlike, pieces()[0], pieces()[0], unlike], room(0))

    assert [unit.paths for unit in units] == [unlike.paths * 2, pieces()[0].paths * 2]


def test_one_unit_or_none_is_left_as_it_is() -> None:
    assert merge_within_budget([], room(0)) == []
    assert merge_within_budget(pieces()[:1], room(0)) == pieces()[:1]


def digest() -> str:
    """Export the model of these tests."""
    explain = explain_onnx(small_model(), np.nan_to_num(example_rows(50, 10, seed=78)))
    return hashlib.sha256(explain).hexdigest()


def test_another_process_joins_the_same_units() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    code = f"from {__name__} import digest; print(digest())"

    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert other.stdout.strip() == digest()
