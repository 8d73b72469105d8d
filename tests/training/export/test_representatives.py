"""Rows that go into a bundle decide as the rows that they stand for, and point at nobody."""

import numpy as np
import pytest

from tests.oracles import margins
from tests.training.export.example_models import MODELS, edge_case_rows, example_model, example_rows
from training.export.representatives import representative_rows
from training.export.trees import read_ensemble


@pytest.mark.parametrize("name", MODELS)
def test_a_representative_has_the_margin_of_the_value_that_it_stands_for(name: str) -> None:
    booster = example_model(name)
    rows = edge_case_rows(booster, example_rows(200, booster.num_feature(), seed=77, gaps=0.05))

    frozen = representative_rows(read_ensemble(booster), rows)

    assert np.array_equal(margins(booster, frozen), margins(booster, rows))


def test_representatives_keep_no_value_of_anyone_between_two_thresholds() -> None:
    booster = example_model("missing type NaN")
    rows = example_rows(300, seed=77, gaps=0.1)

    frozen = representative_rows(read_ensemble(booster), rows)

    asked = booster.feature_importance() > 0
    continuous = [column for column in range(0, rows.shape[1], 2) if asked[column]]
    assert continuous
    for column in continuous:
        assert not set(frozen[:, column][~np.isnan(frozen[:, column])]) & set(rows[:, column])
    assert set(np.unique(frozen[:, ~asked][~np.isnan(frozen[:, ~asked])])) <= {0.0}
    assert np.array_equal(np.isnan(frozen), np.isnan(rows))
