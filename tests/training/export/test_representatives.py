"""Representative rows have the margins of the original rows and contain no value of a real person."""

import numpy as np
import pytest

from tests.oracles import margins
from tests.training.export.example_models import MODELS, edge_case_rows, example_model, example_rows
from training.export.representatives import representative_rows
from training.export.trees import read_ensemble


@pytest.mark.parametrize("name", MODELS)
def test_a_representative_row_has_the_margin_of_the_original(name: str) -> None:
    booster = example_model(name)
    rows = edge_case_rows(booster, example_rows(200, booster.num_feature(), seed=77, gaps=0.05))

    replaced = representative_rows(read_ensemble(booster), rows)

    assert np.array_equal(margins(booster, replaced), margins(booster, rows))


def test_representatives_contain_no_original_value_between_two_thresholds() -> None:
    booster = example_model("missing type NaN")
    rows = example_rows(300, seed=77, gaps=0.1)

    replaced = representative_rows(read_ensemble(booster), rows)

    used = booster.feature_importance() > 0
    continuous = [column for column in range(0, rows.shape[1], 2) if used[column]]
    assert continuous
    for column in continuous:
        assert not set(replaced[:, column][~np.isnan(replaced[:, column])]) & set(rows[:, column])
    assert set(np.unique(replaced[:, ~used][~np.isnan(replaced[:, ~used])])) <= {0.0}
    assert np.array_equal(np.isnan(replaced), np.isnan(rows))
