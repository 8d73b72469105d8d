"""The groups whose merge adds the fewest cells are merged first, until the tables reach their largest size."""

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

LINE_BYTES, GROUP_BYTES = 80, 300


@cache
def small_model() -> Ensemble:
    """Return 30 trees of 8 leaves over 9 features with missing values."""
    return read_ensemble(fit(example_rows(600, 10, gaps=0.1), {"feature_fraction": 0.5}, 30))


@cache
def small_groups() -> list[LeafGroup]:
    """Return the initial groups of the small model; some groups have the same splits."""
    return initial_groups(small_model(), ensemble_bins(small_model()))


def budget(bytes_max: int, cells_max: int = 10**6, features_max: int = 10) -> TableBudget:
    """Return a budget for lines of 10 numbers."""
    return TableBudget(bytes_max, LINE_BYTES, GROUP_BYTES, cells_max, features_max)


def tables_size(groups: list[LeafGroup]) -> int:
    """Return the size of the tables in bytes."""
    return sum(group.cell_count for group in groups) * LINE_BYTES + len(groups) * GROUP_BYTES


def growth(one: LeafGroup, other: LeafGroup) -> int:
    """Return the number of cells that a merge adds, computed by merging the two groups."""
    return merge_groups(one, other).cell_count - one.cell_count - other.cell_count


def test_the_model_has_no_more_groups_than_are_compared() -> None:
    assert 20 < len(small_groups()) <= COMPARED_MAX


def test_the_merged_cell_count_is_that_of_the_merged_group_or_none() -> None:
    for one, other in itertools.permutations(small_groups()[:25], 2):
        cells = merge_groups(one, other).cell_count

        assert merged_cell_count(one, other, cells) == cells
        assert merged_cell_count(one, other, cells - 1) is None


@pytest.mark.parametrize("bytes_max", [0, 200_000])
def test_the_best_candidate_of_a_group_grows_least_of_all(bytes_max: int) -> None:
    groups = merge_within_budget(small_groups(), budget(bytes_max))
    search = MergeSearch(groups, budget(bytes_max))
    for slot, group in enumerate(groups):
        least = min(growth(group, other) for other in groups if other is not group)

        candidate = search.best_candidate(slot)

        assert candidate is not None
        assert (candidate.growth, candidate.first) == (least, slot)
        assert growth(group, groups[candidate.second]) == least


def test_a_bound_is_never_above_the_growth() -> None:
    search = MergeSearch(small_groups(), budget(0))
    for slot, group in enumerate(small_groups()):
        others, bounds = search.partners(slot)

        assert others.tolist() == [other for other in range(len(small_groups())) if other != slot]
        assert all(bound <= growth(group, small_groups()[other]) for other, bound in zip(others, bounds, strict=True))


def test_every_leaf_is_in_one_group_after_merging() -> None:
    leaves = Counter(path.value for group in small_groups() for path in group.paths)
    for bytes_max in (0, 50_000, 10**8):
        groups = merge_within_budget(small_groups(), budget(bytes_max))

        assert Counter(path.value for group in groups for path in group.paths) == leaves
    assert len(groups) < len(small_groups()) / 5


def test_the_tables_fill_the_budget_and_do_not_exceed_it() -> None:
    least = tables_size(merge_within_budget(small_groups(), budget(0)))
    assert least < tables_size(small_groups())
    counts = []
    for bytes_max in range(least, 30 * least, least):
        groups = merge_within_budget(small_groups(), budget(bytes_max))
        counts.append(len(groups))

        assert tables_size(groups) <= bytes_max
        more = min(growth(one, other) for one, other in itertools.combinations(groups, 2)) * LINE_BYTES - GROUP_BYTES
        assert tables_size(groups) + more > bytes_max
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 2


def test_merges_that_shrink_the_tables_are_done_beyond_the_budget() -> None:
    groups = merge_within_budget(small_groups(), budget(0))

    assert all(growth(one, other) * LINE_BYTES > GROUP_BYTES for one, other in itertools.combinations(groups, 2))


@pytest.mark.parametrize(("cells_max", "features_max"), [(100, 10), (10**6, 5), (40, 4)])
def test_a_merged_group_respects_the_limits_of_cells_and_features(cells_max: int, features_max: int) -> None:
    assert max(group.cell_count for group in small_groups()) > 40

    groups = merge_within_budget(small_groups(), budget(10**8, cells_max, features_max))

    most = max(cells_max, *(group.cell_count for group in small_groups()))
    assert len(groups) < len(small_groups())
    assert all(group.cell_count <= most for group in groups)
    assert all(len(group.digits) <= features_max or group in small_groups() for group in groups)
    assert any(group.cell_count > cells_max / 2 or len(group.digits) == features_max for group in groups)


def test_groups_beyond_the_cell_limit_are_merged_if_they_have_the_same_splits() -> None:
    merged = merge_within_budget([small_groups()[0], small_groups()[0]], budget(0, cells_max=1))

    assert [group.cell_count for group in merged] == [small_groups()[0].cell_count]


def test_a_merged_group_has_the_position_of_its_first_part() -> None:
    unlike = next(group for group in small_groups() if growth(small_groups()[0], group) * LINE_BYTES > GROUP_BYTES)

    groups = merge_within_budget([unlike, small_groups()[0], small_groups()[0], unlike], budget(0))

    assert [group.paths for group in groups] == [unlike.paths * 2, small_groups()[0].paths * 2]


def test_a_single_group_or_none_is_unchanged() -> None:
    assert merge_within_budget([], budget(0)) == []
    assert merge_within_budget(small_groups()[:1], budget(0)) == small_groups()[:1]


def digest() -> str:
    """Return the hash of the exported model of these tests."""
    explain = explain_onnx(small_model(), np.nan_to_num(example_rows(50, 10, seed=78)))
    return hashlib.sha256(explain).hexdigest()


def test_another_process_merges_the_same_groups() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    code = f"from {__name__} import digest; print(digest())"

    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert other.stdout.strip() == digest()
