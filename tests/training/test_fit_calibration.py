"""The calibration rejects a model that does not rank the rows, and says why."""

import numpy as np
import pytest

from training.errors import ModelRejected
from training.fitting.calibration import fit_calibration


def test_a_model_that_gives_every_row_the_same_margin_is_rejected_for_this_reason() -> None:
    with pytest.raises(ModelRejected, match="gives every row of the calibration part the same margin"):
        fit_calibration(np.full(4, -1.5), np.array([0, 1, 0, 1]))


def test_a_model_that_ranks_the_rows_the_wrong_way_round_is_rejected() -> None:
    margins = np.array([3.0, 2.5, 2.0, -2.0, -2.5, 1.0])

    with pytest.raises(ModelRejected, match="the slope must be above 0"):
        fit_calibration(margins, np.array([0, 0, 1, 1, 1, 0]))
