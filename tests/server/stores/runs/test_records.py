"""A run and its record are committed together or not at all; a row that changed after the commit is reported."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.header import parse_header
from server.errors import LoadRefused
from server.load.files import load_file
from server.maintenance.erasure import erase_customer
from server.stores.record_log.log import RecordLog
from server.stores.runs.records import run_record_id
from server.stores.tables import RECORDS, RISK_CHUNKS, RISK_LEAVES, RISKS, RUNS
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import FIRST, ChurnFamily
from tests.server.kills import Kill, Killed, at_every_step
from tests.server.load.test_runs import as_it_is, write
from tests.server.loading import KEEP
from tests.server.record_logs import NOW, key_locations, open_test_log
from tests.server.run_trees import problems, run_ids

MARKETS = {"DE": 1010, "FR": 30}


@pytest.fixture
def log(database_url: str, tmp_path: Path, churn_family: ChurnFamily) -> Iterator[RecordLog]:
    """Yield a log with a loaded run."""
    with open_test_log(database_url, tmp_path) as found:
        load_file(found.database, churn_family.first_run, LOAD_TIME, key_locations(tmp_path), KEEP)
        yield found


def test_a_run_is_one_record_with_its_markets_and_no_customer_data(log: RecordLog, churn_family: ChurnFamily) -> None:
    (run_id,) = run_ids(log)

    kept = log.find_by_id(run_record_id(run_id))

    assert kept is not None
    body = pb.RunRecord.FromString(kept.body)
    bundle = churn_family.model.bundle
    assert kept.header.record_id.replace("-", "") == run_id
    assert (kept.header.kind, kept.header.customer_tag) == ("CHURN_RUN", "")
    roots = {f"rows_{each.market.lower()}": f"{each.customer_count}:{each.rows_root.hex()}" for each in body.markets}
    assert kept.header.labels == {"run": run_id, "bundle": bundle.bundle_id} | roots
    assert not any(each.rows_sha256 for each in body.markets)
    assert (body.bundle_id, body.baseline_sha256) == (bundle.bundle_id, bundle.baseline_sha256)
    assert {each.market: each.customer_count for each in body.markets} == MARKETS
    assert {each.as_of_time.ToDatetime(FIRST.tzinfo) for each in body.markets} == {FIRST}
    assert body.load_time.ToDatetime(FIRST.tzinfo) == LOAD_TIME
    assert b"C00701" not in kept.body


def test_a_changed_added_or_deleted_row_is_reported_but_not_an_erased_one(log: RecordLog) -> None:
    (run_id,) = run_ids(log)
    mine = RISKS.c.customer_id == "C00701"
    assert problems(log) == []

    erase_customer(log, ("FR", "C00700"), "request 7", NOW)
    assert problems(log) == []

    with log.database.reading() as connection:
        row = connection.execute(select(RISKS).where(mine)).mappings().one()
    expected = [f"run {run_id}, market FR: its rows differ from the record"]
    for change in ({"rank": 4000}, {"pd": 0.5}, {"band": "LOW" if row["band"] != "LOW" else "HIGH"}, {"features": b""}):
        with log.database.writing() as connection:
            connection.execute(update(RISKS).where(mine).values(**change))
        assert problems(log) == expected, change
        with log.database.writing() as connection:
            connection.execute(update(RISKS).where(mine).values(**row))
    with log.database.writing() as connection:
        connection.execute(RISKS.insert().values({**row, "customer_id": "C9"}))
    assert problems(log) == expected
    with log.database.writing() as connection:
        connection.execute(delete(RISKS).where(RISKS.c.customer_id.in_(["C9", "C00701"])))
    assert problems(log) == expected


def test_a_run_without_a_record_is_reported(log: RecordLog) -> None:
    with log.database.writing() as connection:
        row = connection.execute(select(RUNS)).mappings().first()
        assert row is not None
        connection.execute(RUNS.insert().values({**row, "run_number": row["run_number"] + 9, "run_id": "f" * 32}))

    assert problems(log) == [f"run {'f' * 32}, market {row['market']}: has no record"]


def test_a_recorded_run_with_other_rows_is_refused_and_not_loaded(
    log: RecordLog, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    with log.database.writing() as connection:
        connection.execute(delete(RISKS))
        connection.execute(delete(RISK_CHUNKS))
        connection.execute(delete(RISK_LEAVES))
        connection.execute(delete(RUNS))
    load_file(log.database, churn_family.first_run, NOW, key_locations(tmp_path), KEEP)
    again = problems(log)
    with log.database.writing() as connection:
        connection.execute(delete(RISKS))
        connection.execute(delete(RISK_CHUNKS))
        connection.execute(delete(RISK_LEAVES))
        connection.execute(delete(RUNS))
    other = write(churn_family, tmp_path / "other.parquet", as_it_is)  # only FR, with the same run_id

    with pytest.raises(LoadRefused, match="was already loaded with different rows"):
        load_file(log.database, other, NOW, key_locations(tmp_path), KEEP)

    assert again == []
    assert run_ids(log) == set()


def test_a_load_killed_at_any_step_leaves_run_and_record_or_neither(churn_family: ChurnFamily, tmp_path: Path) -> None:
    states = []

    def killed_at(step: int) -> bool:
        folder = tmp_path / str(step)
        folder.mkdir()
        with open_test_log(f"sqlite:///{folder / 'log.db'}", folder) as log:
            Kill(step, log.database)
            ended = True
            try:
                load_file(log.database, churn_family.second_run, LOAD_TIME, key_locations(folder), KEEP)
            except Killed:
                ended = False
        with open_test_log(f"sqlite:///{folder / 'log.db'}", folder) as log:
            states.append((len(run_ids(log)), recorded_runs(log)))
            load_file(log.database, churn_family.second_run, LOAD_TIME, key_locations(folder), KEEP)
            assert (len(run_ids(log)), recorded_runs(log), problems(log)) == (1, 1, [])
        return ended

    at_every_step(killed_at)

    assert set(states) == {(0, 0), (1, 1)}


def recorded_runs(log: RecordLog) -> int:
    """Return the number of records of runs."""
    with log.database.reading() as connection:
        headers = connection.execute(select(RECORDS.c.header)).scalars().all()
    return sum(parse_header(header).kind == "CHURN_RUN" for header in headers)
