"""A load and an erasure on the same database: one waits for the other, and the log stays valid if one is killed."""

from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from server.__main__ import app
from server.errors import StoreUnavailable
from server.maintenance.doctor import check_log
from server.maintenance.erasure import find_erasure_problems
from server.stores.database import Database
from server.stores.runs.publication import lock_loading
from server.stores.runs.records import run_problems
from server.stores.tables import FEATURES, RISKS, RUNS
from tests.conftest import LOAD_TIME, key_settings
from tests.e2e.processes import write_config
from tests.server.churn_runs import FIRST, ChurnFamily, plain_rows, write_run
from tests.server.load.test_files import GOOD, write
from tests.server.load.test_killed_load import wait_for_rows
from tests.server.loading import load_file, start_loading
from tests.server.record_logs import open_test_log

ORIGIN = "grounds.local/log"


def run_command(url: str, folder: Path, *words: str) -> Result:
    """Run a command of the server on a database."""
    config = write_config(folder / "config.toml", {"database": url, **key_settings(folder)})
    return CliRunner().invoke(app, [*words, "--config", str(config)])


def problems(url: str, folder: Path) -> list[str]:
    """Return the doctor's report about the log and its runs."""
    with open_test_log(url, folder, origin=ORIGIN) as log:
        _, erased_rows = find_erasure_problems(log)
        holds, sentences = check_log(log.database, log.verifier, None)
        return [*run_problems(log, erased_rows), *([] if holds else sentences)]


def customers(database: Database, market: str) -> int:
    """Return the number of customers in the visible runs of a market."""
    wanted = select(func.count()).select_from(RISKS.join(RUNS)).where(RUNS.c.market == market, RUNS.c.state == "LOADED")
    with database.reading() as connection:
        return int(connection.execute(wanted).scalar_one())


def test_after_a_killed_load_a_customer_can_be_erased_and_the_same_file_loads_without_the_customer(
    database: Database, database_url: str, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    values: dict[str, float | None] = {f"C{number:04d}": (number % 13) / 2 - 3 for number in range(1500)}
    rows = plain_rows(churn_family.model, values, FIRST)
    run = write_run(tmp_path / "run.parquet", churn_family.model, rows)
    load_file(
        database, write(tmp_path / "good.parquet", GOOD.assign(customer_id=["C0000", "C0001", "C0002"])), LOAD_TIME
    )
    process = start_loading(database_url, run, LOAD_TIME)
    wait_for_rows(database, process, 200, FIRST)
    refused = run_command(database_url, tmp_path, "erase", "DE", "C0000", "--reason", "request 7", "--apply")
    process.kill()
    process.join()
    assert customers(database, "DE") == 0, "the loader was killed after its last commit"

    erased = run_command(database_url, tmp_path, "erase", "DE", "C0000", "--reason", "request 7", "--apply")
    done = load_file(database, run, LOAD_TIME)

    assert isinstance(refused.exception, StoreUnavailable)
    assert "another load or erasure is running" in str(refused.exception)
    assert erased.exit_code == 0, erased.output
    assert "1 feature rows, 0 run rows" in erased.output
    assert (done.added, customers(database, "DE")) == (1499, 1499)
    assert problems(database_url, tmp_path) == []


def test_a_load_and_an_erasure_exclude_each_other_and_the_second_is_refused_without_effect(
    database: Database, database_url: str, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    path = write(tmp_path / "good.parquet", GOOD)
    load_file(database, path, LOAD_TIME)
    words = ("erase", "DE", "C1", "--reason", "request 7")

    with lock_loading(database):
        for file in (path, churn_family.first_run):
            with pytest.raises(StoreUnavailable, match="another load or erasure is running"):
                load_file(database, file, LOAD_TIME)
        shown = run_command(database_url, tmp_path, *words)
        refused = run_command(database_url, tmp_path, *words, "--apply")
    with database.reading() as connection:
        left = connection.execute(select(func.count()).select_from(FEATURES)).scalar_one()
    done = run_command(database_url, tmp_path, *words, "--apply")

    assert shown.exit_code == 0, shown.output
    assert isinstance(refused.exception, StoreUnavailable)
    assert left == 3
    assert done.exit_code == 0, done.output
    assert load_file(database, churn_family.first_run, LOAD_TIME).added == 1040


def test_a_session_that_holds_the_lock_is_not_idle_in_a_transaction(database: Database) -> None:
    """A session that is idle in a transaction would prevent VACUUM from removing rows that were deleted since."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite's lock is a file's")

    with lock_loading(database), database.reading() as connection:
        states = connection.exec_driver_sql(
            "SELECT state FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )

        assert states.scalars().all() == ["idle"]
