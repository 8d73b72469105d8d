"""A loader is killed at random moments: readers see only complete runs; the next load completes or removes the rest."""

import datetime as dt
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import func, select

from server.errors import LoadRefused
from server.stores.database import Database
from server.stores.runs.predictions import PredictionStore
from server.stores.tables import FEATURES, RISK_CHUNKS, RISKS, RUNS
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import FIRST, SECOND, ChurnFamily, plain_rows, write_run
from tests.server.load.test_files import GOOD, NAMES, write
from tests.server.loading import load_file, start_loading

KILLS = 10


def numbers(database: Database) -> dict[str, set[int]]:
    """Return the numbers of the runs that have rows in each table, by name of the table."""
    with database.reading() as connection:
        return {
            table.name: set(connection.execute(select(table.c.run_number).distinct()).scalars())
            for table in (RUNS, RISKS, RISK_CHUNKS)
        }


def content(database: Database) -> tuple[str, dt.datetime, list[tuple[object, ...]]]:
    """Return id, time and rows of the newest run that readers see; check that the run is complete."""
    store = PredictionStore(database)
    run = store.find_newest_run("DE")
    assert run is not None
    with database.reading() as connection:
        rows = connection.execute(select(RISKS).where(RISKS.c.run_number == run.number).order_by(RISKS.c.customer_id))
        found = [tuple(row)[1:] for row in rows.all()]
        exported = connection.execute(
            select(func.sum(RISK_CHUNKS.c.row_count)).where(RISK_CHUNKS.c.run_number == run.number)
        ).scalar_one()
    assert run.customer_count == len(found) == exported
    return run.run_id, run.as_of, found


def test_a_loader_killed_at_ten_random_moments_leaves_the_old_run_or_the_new_one_whole(
    database: Database, database_url: str, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    values = {f"C{number:04d}": (number % 13) / 2 - 3 for number in range(1500)}
    first, second = (
        write_run(
            tmp_path / f"{as_of:%m}.parquet",
            churn_family.model,
            plain_rows(churn_family.model, {key: value + shift for key, value in values.items()}, as_of),
        )
        for as_of, shift in ((FIRST, 0.0), (SECOND, 1.0))
    )
    load_file(database, first, LOAD_TIME)
    before = content(database)
    seen = set()
    for moment in moments():
        process = start_loading(database_url, second, LOAD_TIME)
        wait_for_rows(database, process, moment)
        process.kill()
        process.join()
        run_id, as_of, rows = content(database)
        seen.add(as_of)

        assert as_of == SECOND or (run_id, as_of, rows) == before
    done = start_loading(database_url, second, LOAD_TIME)
    done.join()

    assert done.exitcode == 0
    after = content(database)
    assert after[1] == SECOND
    assert [row[0] for row in after[2]] == sorted(values)
    left = numbers(database)
    assert left["runs"] == left["risks"] == left["risk_chunks"]
    assert len(left["runs"]) == 2
    assert FIRST in seen


def moments() -> list[int]:
    """Draw the numbers of loaded rows at which the loader is killed, from 0 rows to all 1,500 rows."""
    chance = random.Random(5)  # noqa: S311 - draws moments, not secrets
    return [0, 1, *(chance.randrange(20, 1500) for _ in range(KILLS - 3)), 1500]


def wait_for_rows(database: Database, process: BaseProcess, rows: int, as_of: dt.datetime = SECOND) -> None:
    """Wait until the run with this time has at least `rows` rows, or until the loader has ended."""
    deadline = time.monotonic() + 60
    counted = select(func.coalesce(func.sum(RUNS.c.customer_count), 0)).where(RUNS.c.as_of == as_of)
    while time.monotonic() < deadline and process.is_alive():
        with database.reading() as connection:
            if connection.execute(counted).scalar_one() >= rows:
                return
        time.sleep(0.002)


@pytest.mark.parametrize("state", ["LOADING", "PRUNING"])
def test_the_rows_of_a_killed_load_are_deleted_by_the_next_load(
    database: Database, churn_family: ChurnFamily, tmp_path: Path, state: str
) -> None:
    model = churn_family.model
    load_file(database, write_run(tmp_path / "a.parquet", model, plain_rows(model, {"A": 1.0}, FIRST)), LOAD_TIME)
    with database.writing() as connection:
        connection.execute(RUNS.update().values(state=state))
    assert PredictionStore(database).find_newest_run("DE") is None

    load_file(database, write_run(tmp_path / "b.parquet", model, plain_rows(model, {"B": 1.0}, SECOND)), LOAD_TIME)

    assert {name: len(found) for name, found in numbers(database).items()} == {"runs": 1, "risks": 1, "risk_chunks": 1}


def test_a_load_of_features_that_was_killed_is_finished_by_the_same_file(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    count = 2000
    rows = pd.DataFrame(
        {
            "market": "DE",
            "customer_id": [f"C{number:05d}" for number in range(count)],
            "as_of": FIRST,
            "sample": "FIT",
            **dict.fromkeys(NAMES, 1.0),
        }
    )
    path = write(tmp_path / "features.parquet", rows.astype({"as_of": "datetime64[us, UTC]"}))
    seen = []
    for least in (0, 1, 900):
        process = start_loading(database_url, path, LOAD_TIME)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.is_alive() and feature_count(database) < least:
            time.sleep(0.002)
        process.kill()
        process.join()
        seen.append(feature_count(database))

    with pytest.raises(LoadRefused, match="different values"):
        load_file(database, write(tmp_path / "other.parquet", rows.assign(years=2.0)), LOAD_TIME)
    refused = feature_count(database)
    done = load_file(database, path, LOAD_TIME)

    assert 0 < seen[1] <= seen[2] < count
    assert seen[2] == refused
    assert (done.added, done.known, feature_count(database)) == (count - refused, refused, count)


def feature_count(database: Database) -> int:
    """Return the number of rows of features."""
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(FEATURES)).scalar_one())


def test_other_values_are_refused_before_anything_is_kept_also_in_the_last_batch(
    database: Database, tmp_path: Path
) -> None:
    rows = pd.concat([GOOD.assign(customer_id=[f"C{number}-{each}" for each in "abc"]) for number in range(3000)])
    last = write(tmp_path / "last.parquet", rows.tail(1).assign(years=9.0))
    load_file(database, last, LOAD_TIME)

    with pytest.raises(LoadRefused, match="different values"):
        load_file(database, write(tmp_path / "all.parquet", rows), LOAD_TIME)

    assert feature_count(database) == 1
