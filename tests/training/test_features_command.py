"""`python -m training features` writes feature files for an existing bundle, without fitting a model."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.schema import UNSEEN
from tests.conftest import ROOT, Released, run
from tests.server.edges.credit.test_category_features import CATEGORY
from tests.small import SPEC, made_customers, write_small_family
from training.errors import DataInvalid
from training.sources.snapshots import read_log_customers
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec


def bundle_of(bundles: Path, family: str) -> str:
    """Return the id of the only bundle of a family."""
    return next(path.name for path in (bundles / family).iterdir() if path.is_dir())


def test_features_as_of_the_latest_snapshot_equal_the_file_that_fit_wrote(released: Released, tmp_path: Path) -> None:
    latest = read_spec(ROOT / "training" / "churn.toml").snapshots
    assert latest is not None
    words = ["--at", str(latest.latest), "--bundles", str(released.bundles), "--to", str(tmp_path / "f.parquet")]

    run("training", "features", "training/churn.toml", *words)

    assert (tmp_path / "f.parquet").read_bytes() == (released.files / "churn.features.parquet").read_bytes()


def test_a_date_after_the_end_of_the_log_is_rejected() -> None:

    spec = read_spec(ROOT / "training" / "churn.toml")

    with pytest.raises(DataInvalid, match="the log ends"):
        read_log_customers(spec, SourcePaths(), dt.date(2018, 3, 1), 2)


def test_the_levels_of_a_later_table_get_the_codes_of_the_model(tmp_path: Path) -> None:
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
        schema.encode_value("sector", "school")
    }
    assert set(rows.loc[later.loc[later["sector"] == "airport", "number"], "sector"]) == {UNSEEN}


def test_features_are_written_for_customers_without_an_outcome(tmp_path: Path) -> None:
    """The label column is half empty, completely empty, or missing. The command prints the numbers of excluded rows."""
    table = made_customers(600)
    small = write_small_family(tmp_path, SPEC, table)
    exclude = '\n[[table.exclude]]\ncode = "TINY"\nwhere = "turnover < 20000"\n'
    small.spec.write_text(SPEC.replace("\n[search]", f"{exclude}\n[search]", 1))
    kept = table[table["turnover"] >= 20000]
    half = table["bad"].where(table.index % 2 == 0)
    words = ["--bundles", str(small.bundles), "--bundle", bundle_of(small.bundles, "credit"), "--at", "2026-03-01"]
    written = []

    for later in (table.assign(bad=half), table.assign(bad=None), table.drop(columns="bad")):
        later.to_csv(tmp_path / "later.csv", index=False)
        to = tmp_path / f"{len(written)}.parquet"
        said = run("training", "features", str(small.spec), "--data", f"{tmp_path}/later.csv", "--to", str(to), *words)
        written.append(to.read_bytes())

        assert f"left out: TINY: -{600 - len(kept)}" in said
        assert f"rows used: {len(kept)}" in said
        assert "the spec has changed since bundle" in said
    rows = pq.read_table(tmp_path / "0.parquet").to_pandas().set_index("customer_id").loc[kept["number"]]
    assert written[0] == written[1] == written[2]
    assert set(rows["as_of"]) == {pd.Timestamp("2026-03-01", tz="UTC")}
    assert np.array_equal(rows["orders"], kept["orders"], equal_nan=True)
    assert set(rows["sample"]) == {"FIT", "CALIBRATION", "HOLD_OUT"}
