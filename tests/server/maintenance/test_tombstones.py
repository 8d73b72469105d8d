"""The commands load, erase and retain delete every tombstone that no valid delta token or page token can request.

Tombstones contain customer numbers, so they must not be kept for longer than needed.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from server.__main__ import app
from server.stores.database import Database
from server.stores.tables import RISK_TOMBSTONES
from tests.conftest import key_settings
from tests.e2e.processes import write_config
from tests.server.churn_runs import FIRST, ChurnFamily, plain_rows, write_run
from tests.server.decisions.test_retention import write_table
from tests.server.load.test_files import GOOD, write
from tests.server.loading import load_file
from tests.server.record_logs import open_test_log

ORIGIN = "grounds.local/log"
# A delta token is valid for seven days. The page tokens of the sync that it starts are valid for another seven days.
DAYS = 14


def run_command(database: Database, folder: Path, *words: str) -> None:
    """Run a command of the server."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = {"database": url, "retention": write_table(folder), **key_settings(folder)}
    config = write_config(folder / "config.toml", settings)
    done = CliRunner().invoke(app, [*words, "--config", str(config)])
    assert done.exit_code == 0, done.output


def load(database: Database, folder: Path, churn: ChurnFamily) -> None:
    """Load a scoring run of the market DE."""
    load_file(database, write_run(folder / "run.parquet", churn.model, rows(churn)), dt.datetime.now(dt.UTC))


def rows(churn: ChurnFamily) -> pd.DataFrame:
    """Return the rows of a run with one customer."""
    return plain_rows(churn.model, {"A": 1.0}, FIRST)


def erase(database: Database, folder: Path, _churn: ChurnFamily) -> None:
    """Erase a customer who is in no run."""
    load_file(database, write(folder / "features.parquet", GOOD), dt.datetime.now(dt.UTC))
    run_command(database, folder, "erase", "FR", "C1", "--reason", "request 7", "--apply")


def retain(database: Database, folder: Path, _churn: ChurnFamily) -> None:
    """Apply retention."""
    run_command(database, folder, "retain", "--apply")


@pytest.mark.parametrize("command", [load, erase, retain])
def test_each_command_deletes_expired_tombstones_even_of_a_market_without_runs(
    database: Database,
    database_url: str,
    churn_family: ChurnFamily,
    tmp_path: Path,
    command: Callable[[Database, Path, ChurnFamily], None],
) -> None:
    with open_test_log(database_url, tmp_path, origin=ORIGIN):
        pass  # opening creates the log
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    ages = {"OLD": dt.timedelta(DAYS) + hour, "YOUNG": dt.timedelta(DAYS) - hour}
    stones = [
        {"market": market, "customer_id": f"{name}-{market}", "erase_time": now - age}
        for market in ("DE", "IT")  # no run was ever loaded for IT
        for name, age in ages.items()
    ]
    with database.writing() as connection:
        connection.execute(RISK_TOMBSTONES.insert(), stones)

    command(database, tmp_path, churn_family)

    with database.reading() as connection:
        left = set(connection.execute(select(RISK_TOMBSTONES.c.customer_id)).scalars())
    assert left == {"YOUNG-DE", "YOUNG-IT"}
