"""Loading feature files: a file is checked completely before anything is stored, or rejected with the reason."""

import datetime as dt
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from server.config import Settings
from server.errors import LoadRefused
from server.load.files import LoadResult
from server.stores.database import Database
from server.stores.tables import FEATURES, METADATA
from tests.conftest import LOAD_TIME, ROOT
from tests.server.loading import load_file
from tests.server.requests import score_request
from tests.server.servers import serve
from tests.small import SmallFamily
from training.scoring.feature_file import KEY_COLUMNS, write_feature_file

AS_OF = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAMES = ("days_late", "orders", "turnover", "years")
GOOD = pd.DataFrame(
    {
        "market": ["DE", "DE", "FR"],
        "customer_id": ["C1", "a.b_c:d-E", "C1"],
        "as_of": pd.to_datetime([AS_OF] * 3),
        "sample": "FIT",
        "days_late": [0.1 + 0.2, 5.0, math.nan],
        "orders": [1.0, 2.0, 3.0],
        "turnover": [1.0, 2.0, 3.0],
        "years": [1.0, math.nan, 3.0],
    }
)
TYPES = [*KEY_COLUMNS, ("sample", pa.string()), *((name, pa.float64()) for name in NAMES)]


def write(path: Path, rows: pd.DataFrame, manifest: Any = None, **types: pa.DataType) -> Path:
    """Write a feature file in the form that training writes, with the changes of a test."""
    columns = [(name, types.get(name, kind)) for name, kind in TYPES if name in rows.columns]
    columns.sort(key=lambda column: list(rows.columns).index(column[0]))
    default = {
        "format": 1,
        "kind": "features",
        "family": "credit",
        "feature_set_digest": "0" * 64,
        "feature_names": NAMES,
    }
    schema = pa.schema(columns, metadata={"grounds": json.dumps(default if manifest is None else manifest)})
    pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False).cast(schema), path)
    return path


def counts(database: Database) -> dict[str, int]:
    """Return the number of rows of every table that `load` fills."""
    with database.reading() as connection:
        tables = [METADATA.tables[name] for name in ("features", "runs", "risks")]
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }


def test_a_file_is_loaded_whole_and_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "good.parquet", GOOD)

    first, second = (load_file(database, path, LOAD_TIME) for _ in range(2))

    assert first == LoadResult("features", "credit", 3, 0, 0)
    assert second == LoadResult("features", "credit", 0, 3, 0)
    assert counts(database)["features"] == 3


async def test_a_server_loads_and_decides_once_on_every_database(
    database: Database, database_url: str, small: SmallFamily, small_settings: Settings
) -> None:
    done = load_file(database, small.features, LOAD_TIME)
    request = score_request()

    async with serve(small_settings.model_copy(update={"database": database_url})) as serving:
        answers = [await serving.credit.ScoreCredit(request) for _ in range(2)]

    assert (done.added, done.known) == (1500, 0)
    assert answers[0] == answers[1]
    assert answers[0].credit_decision.assessment.model_output.score


def test_other_values_of_the_same_customer_and_time_are_refused_with_the_whole_file(
    database: Database, tmp_path: Path
) -> None:
    load_file(database, write(tmp_path / "good.parquet", GOOD), LOAD_TIME)
    new = GOOD.assign(customer_id=["N1", "N2", "C1"], years=[1.0, 2.0, 4.0])

    with pytest.raises(LoadRefused, match=r"2026-01-01 are already stored with different values"):
        load_file(database, write(tmp_path / "other.parquet", new), LOAD_TIME)

    assert counts(database)["features"] == 3


def test_the_same_customers_at_a_later_time_are_added(empty: Database, tmp_path: Path) -> None:
    load_file(empty, write(tmp_path / "good.parquet", GOOD), LOAD_TIME)
    later = GOOD.assign(as_of=GOOD["as_of"] + pd.Timedelta(days=1), years=4.0)

    done = load_file(empty, write(tmp_path / "later.parquet", later), LOAD_TIME)

    assert (done.added, done.known) == (3, 0)


def change_columns(**columns: Any) -> Callable[[Path], Path]:
    """Return a function that writes a feature file with changed columns."""
    return lambda path: write(path, GOOD.assign(**columns))


def with_manifest(manifest: Any) -> Callable[[Path], Path]:
    """Return a function that writes a feature file with the given manifest."""
    return lambda path: write(path, GOOD, manifest)


def text(path: Path) -> Path:
    """Write a text file in place of a Parquet file; return its path."""
    path.write_text("customer_id,days_late\nC1,3\n")
    return path


def without_manifest(path: Path) -> Path:
    """Write a Parquet file that training did not write, so it has no manifest."""
    GOOD.to_parquet(path)
    return path


def folder(path: Path) -> Path:
    """Create a folder in place of a file; return its path."""
    path.mkdir()
    return path


MANIFEST = {"kind": "features", "family": "credit", "feature_set_digest": "0" * 64}
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda path: path, "cannot be read as Parquet"),
    "a folder": (folder, r"."),
    "text": (text, "cannot be read as Parquet"),
    "no manifest": (without_manifest, "must contain the manifest of a feature or run file"),
    "a manifest that is a list": (with_manifest([]), "manifest"),
    "a manifest of another kind": (
        with_manifest({**MANIFEST, "kind": "weather"}),
        "must contain the manifest of a feature or run file",
    ),
    "a manifest without a digest": (
        with_manifest({"kind": "features", "family": "credit"}),
        "missing .*feature_set_digest",
    ),
    "feature names that are not a list": (with_manifest({**MANIFEST, "feature_names": 5}), "feature"),
    "a newer format": (
        with_manifest({**MANIFEST, "format": 2}),
        "format 2 is unsupported; this release reads formats up to 1",
    ),
    "a format that is not a number": (with_manifest({**MANIFEST, "format": "1"}), "format"),
    "no market": (lambda path: write(path, GOOD.drop(columns="market")), "'market' must exist with type string"),
    "no customer": (
        lambda path: write(path, GOOD.drop(columns="customer_id")),
        "'customer_id' must exist with type string",
    ),
    "no time": (lambda path: write(path, GOOD.drop(columns="as_of")), "'as_of' must exist with type timestamp"),
    "a time without a zone": (
        lambda path: write(path, GOOD, as_of=pa.timestamp("us")),
        "'as_of' must exist with type timestamp",
    ),
    "a feature of integers": (
        lambda path: write(path, GOOD, orders=pa.int64()),
        "'orders' must exist with type double",
    ),
    "a feature as text": (
        lambda path: write(path, GOOD.assign(orders=["1", "2", "3"]), orders=pa.string()),
        "'orders' must exist with type double",
    ),
    "a missing feature": (lambda path: write(path, GOOD.drop(columns="orders")), "orders"),
    "a feature too many": (lambda path: write(path, GOOD, {**MANIFEST, "feature_names": NAMES[:3]}), "years"),
    "features in another order": (
        lambda path: write(path, GOOD[["market", "customer_id", "as_of", "sample", *sorted(NAMES, reverse=True)]]),
        "order",
    ),
    "no rows": (lambda path: write(path, GOOD.head(0)), "the file must have at least one row"),
    "a customer twice": (
        change_columns(market="DE", customer_id="C1"),
        "2 rows have the same market, customer_id and as_of",
    ),
    "an infinite value": (change_columns(orders=[1.0, math.inf, 2.0]), "'orders': must not contain infinite values"),
    "a market in lower case": (change_columns(market="de"), "'market': must be two uppercase letters"),
    "a market with a newline": (change_columns(market="DE\n"), "'market': must be two uppercase letters"),
    "a missing market": (change_columns(market=["DE", None, "FR"]), "'market': must be two uppercase letters"),
    "a customer with a space": (
        change_columns(customer_id=["C1", "C 2", "C3"]),
        "'customer_id': must be 1 to 64 letters",
    ),
    "a missing customer": (change_columns(customer_id=["C1", None, "C3"]), "'customer_id': must be 1 to 64 letters"),
    "a customer number of 65 characters": (
        change_columns(customer_id=["C1", "2" * 65, "C3"]),
        "'customer_id': must be 1 to 64 letters",
    ),
    "a missing time": (
        change_columns(as_of=pd.to_datetime(pd.Series([AS_OF, None, AS_OF]))),
        "'as_of': must have no missing values",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_an_invalid_file_is_refused_and_nothing_of_it_is_loaded(
    empty: Database, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path / "bad.parquet")

    with pytest.raises(LoadRefused, match=message) as caught:
        load_file(empty, path, LOAD_TIME)

    assert str(path) in str(caught.value)
    assert counts(empty) == {"features": 0, "runs": 0, "risks": 0}


def test_the_error_of_a_refused_file_does_not_contain_a_customer_number(empty: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.parquet", GOOD.assign(customer_id=["C1", "SECRET 7", "C3"]))

    with pytest.raises(LoadRefused) as caught:
        load_file(empty, path, LOAD_TIME)

    assert "SECRET" not in str(caught.value)


def test_training_writes_what_the_server_loads_bit_for_bit(empty: Database, small: SmallFamily, tmp_path: Path) -> None:
    schema = small.bundle().schema
    write_feature_file(tmp_path / "written.parquet", "credit", schema, GOOD)

    load_file(empty, tmp_path / "written.parquet", LOAD_TIME)

    with empty.reading() as connection:
        row = connection.execute(select(FEATURES).where(FEATURES.c.customer_id == "a.b_c:d-E")).one()
    assert row.feature_set_digest == schema.feature_set_digest
    assert row.row[:8] == pa.array([5.0]).buffers()[1].to_pybytes()[:8]


def test_the_command_refuses_a_bad_file_in_a_sentence_with_status_1(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.parquet", GOOD), text(tmp_path / "bad.parquet")
    config = tmp_path / "config.toml"
    config.write_text(f'database = "sqlite:///{tmp_path / "command.db"}"\n')
    command = [sys.executable, "-m", "server", "load", str(good), str(bad), "--config", str(config)]

    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == f"{good}: credit features: 3 added, 0 already loaded\n"
    assert done.stderr.splitlines()[-1].startswith(f"error: {bad}: cannot be read as Parquet")
    assert "Traceback" not in done.stderr
    database = Database(f"sqlite:///{tmp_path / 'command.db'}")
    assert counts(database)["features"] == 3
    database.close()
