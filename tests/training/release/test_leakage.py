"""A feature that alone ranks too well is rejected by name, unless the spec acknowledges it."""

import numpy as np
import pandas as pd
import pytest

from training.errors import DataInvalid
from training.measures.bins import CategoryBins
from training.measures.information import information_value
from training.measures.single_feature import rank_by_single_feature
from training.release.leakage import check_leakage
from training.sources.samples import Samples

ROWS = 3000
RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random(ROWS) < 0.2).astype(np.int64)
NOISE = RANDOM.normal(size=ROWS)


def samples_with(values: np.ndarray, levels: int = 0) -> Samples:
    """Return samples with two features: noise, and the values of a suspected feature."""
    rows = pd.DataFrame(
        {
            "market": "DE",
            "customer_id": [f"C{number}" for number in range(ROWS)],
            "label": LABELS,
            "sample": "FIT",
            "noise": NOISE,
            "suspect": values,
        }
    )
    named = {"suspect": tuple(f"L{number}" for number in range(levels))} if levels else {}
    return Samples(rows, ("noise", "suspect"), (), "0" * 64, named)


@pytest.mark.parametrize(
    ("values", "levels", "reason"),
    [
        (np.where(LABELS == 1, NOISE, np.nan), 0, "whether it is missing"),
        (np.where(RANDOM.random(ROWS) < 0.97, LABELS, 1 - LABELS) + 0.1 * NOISE, 0, "its value"),
        (np.where(LABELS == 1, 5.0, 0.0) + RANDOM.integers(0, 5, ROWS), 10, "its category"),
        (np.where(LABELS == 1, 0.0, np.sign(NOISE)) + 0.1 * NOISE, 0, "its range of values"),
    ],
    ids=["missing", "noisy copy", "category", "middle of the range"],
)
def test_a_feature_that_contains_the_outcome_is_rejected_unless_acknowledged(
    values: np.ndarray, levels: int, reason: str
) -> None:
    samples = samples_with(values, levels)

    with pytest.raises(DataInvalid) as rejected:
        check_leakage(samples)
    assert f"  suspect: {reason} ranks 9" in str(rejected.value) or f"  suspect: {reason} ranks 100" in str(
        rejected.value
    )
    assert str(rejected.value).endswith('set acknowledge = ["suspect"] in the spec')
    check_leakage(samples, ["suspect"])


def test_the_message_names_the_column_as_its_owner_wrote_it() -> None:
    with pytest.raises(DataInvalid, match=r"  suspect \(column 'Umsatz Größe'\): its value ranks"):
        check_leakage(samples_with(LABELS + 0.1 * NOISE), columns={"suspect": "Umsatz Größe"})


def test_a_category_of_2000_levels_of_noise_raises_no_alarm_although_its_information_value_is_high() -> None:
    codes = RANDOM.integers(0, 2000, ROWS).astype(float)
    bins = CategoryBins(tuple(float(code) for code in range(2000)))

    check_leakage(samples_with(codes, 2000))

    assert information_value(bins.codes(codes), LABELS, bins).leak_suspected
    customers = np.array([f"C{number}" for number in range(ROWS)])
    assert rank_by_single_feature(codes, LABELS, customers, category=True).auc < 0.55
