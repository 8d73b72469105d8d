"""A log with columns and a family is a complete spec: training chooses features, cut dates and the way to validate."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from training.errors import DataInvalid
from training.fitting.search import validation_folds, validation_remarks
from training.sources.cut_dates import choose_cut_dates
from training.sources.samples import Samples
from training.spec import SnapshotSpec, Spec

LOG = {
    "currency": "EUR",
    "market": "DE",
    "duplicates": "keep",
    "columns": {"customer_id": "customer", "time": "day", "amount": "value"},
}
DAY = dt.timedelta(days=1)


def test_the_columns_of_a_log_and_a_family_are_a_complete_spec() -> None:
    spec = Spec.model_validate({"family": "sales", "log": LOG})
    with_products = Spec.model_validate(
        {"family": "sales", "log": {**LOG, "columns": {**LOG["columns"], "product": "article"}}}
    )

    names = [feature.name for feature in spec.features]
    assert {"recency_days", "purchase_days", "spend_total", "purchase_days_365"} < set(names)
    assert {feature.name for feature in with_products.features} - set(names) == {"products_90"}
    assert spec.snapshots is not None
    assert (spec.snapshots.fit, spec.search.validation) == ((), "forward")
    assert [rival.kind for rival in spec.benchmarks] == ["single", "logistic", "bg_nbd"]


def test_the_chosen_cuts_leave_every_label_its_whole_horizon() -> None:
    first, last, horizon = dt.date(2024, 1, 1), dt.date(2025, 6, 30), dt.timedelta(days=90)

    chosen = choose_cut_dates(SnapshotSpec(horizon_days=90, active_days=180), first, last)

    cuts = [*chosen.fit, *chosen.test]
    assert chosen.latest == dt.date(2025, 7, 1)
    assert cuts == [dt.date(2025, 7, 1) - number * horizon for number in range(len(cuts), 0, -1)]
    assert len(chosen.fit) == 4
    assert min(chosen.fit) - first >= 90 * DAY


def test_a_log_that_is_too_short_states_the_longest_possible_horizon() -> None:
    first = dt.date(2025, 1, 1)

    with pytest.raises(DataInvalid, match="set horizon_days to at most 55"):
        choose_cut_dates(SnapshotSpec(horizon_days=90, active_days=180), first, first + 199 * DAY)
    chosen = choose_cut_dates(SnapshotSpec(horizon_days=55, active_days=180), first, first + 199 * DAY)
    assert len(chosen.fit) == 1


@pytest.mark.parametrize(("periods", "by_customer"), [(1, True), (2, False), (3, False)])
def test_too_few_snapshots_for_forward_validation_fall_back_to_folds_of_customers(
    *, periods: int, by_customer: bool
) -> None:
    spec = Spec.model_validate({"family": "sales", "log": LOG})
    days = pd.date_range("2025-01-01", periods=periods, freq="90D").strftime("%Y-%m-%d")
    rows = pd.DataFrame(
        [
            {"market": "DE", "customer_id": f"C{number}", "period": day, "sample": "FIT", "label": number % 3 == 0}
            for day in days
            for number in range(60)
        ]
    ).astype({"label": np.int64})
    samples = Samples(rows, (), (), "0" * 64, {})

    found = validation_folds(rows, spec)

    assert bool(validation_remarks(samples, spec)) == by_customer
    for known, unseen in found:
        shared = set(rows["customer_id"].iloc[known]) & set(rows["customer_id"].iloc[unseen])
        assert bool(shared) != by_customer
        if not by_customer:
            assert rows["period"].iloc[known].max() < rows["period"].iloc[unseen].min()
