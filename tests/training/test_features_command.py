"""`python -m training features`: what the store is fed with between two fits."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.schema import UNSEEN
from tests.conftest import ROOT, Released, run
from tests.server.test_categories import CATEGORY
from tests.small import SPEC, made_customers, write_small_family
from training.errors import DataRefused
from training.log import Sources
from training.spec import read_spec
from training.transactions import customers_at


def bundle_of(bundles: Path, family: str) -> str:
    """Give the one bundle of a family."""
    return next(path.name for path in (bundles / family).iterdir() if path.is_dir())


def test_features_as_of_the_latest_snapshot_are_the_bytes_that_fitting_wrote(
    released: Released, tmp_path: Path
) -> None:
    latest = read_spec(ROOT / "training" / "churn.toml").snapshots
    assert latest is not None
    words = ["--at", latest.latest.isoformat(), "--bundles", str(released.bundles), "--to", str(tmp_path / "f.parquet")]

    run("training", "features", "training/churn.toml", *words)

    assert (tmp_path / "f.parquet").read_bytes() == (released.files / "churn.features.parquet").read_bytes()


def test_a_date_that_the_log_does_not_reach_is_refused() -> None:

    spec = read_spec(ROOT / "training" / "churn.toml")

    with pytest.raises(DataRefused, match="the log ends"):
        customers_at(spec, Sources(), dt.date(2018, 3, 1), 2)


def test_a_later_table_with_other_levels_is_written_in_the_codes_of_the_model(tmp_path: Path) -> None:
    table = made_customers(600)
    small = write_small_family(
        tmp_path, SPEC + CATEGORY, table.assign(sector=np.where(np.arange(600) % 2, "bar", "school"))
    )
    later = table.assign(sector=np.where(np.arange(600) % 2, "school", "airport"))
    later.to_csv(tmp_path / "later.csv", index=False)
    words = ["--bundles", str(small.bundles), "--bundle", bundle_of(small.bundles, "credit")]

    run(
        "training",
        "features",
        str(small.spec),
        "--data",
        f"{tmp_path}/later.csv",
        "--to",
        f"{tmp_path}/f.parquet",
        *words,
    )

    schema = read_bundle(small.bundle_folder).schema
    rows: pd.DataFrame = pq.read_table(tmp_path / "f.parquet").to_pandas().set_index("customer_id")
    assert set(rows.loc[later.loc[later["sector"] == "school", "number"], "sector"]) == {
        schema.number_of("sector", "school")
    }
    assert set(rows.loc[later.loc[later["sector"] == "airport", "number"], "sector"]) == {UNSEEN}
