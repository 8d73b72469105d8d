"""The leaves of a scoring run: the Merkle tree over its rows, damage to it, and erasures."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from grounds.audit.v1 import bodies_pb2 as pb
from server.load.files import load_file
from server.maintenance.erasure import erase_customer
from server.stores.record_log.log import RecordLog
from server.stores.runs.evidence import RunEvidenceReader
from server.stores.runs.leaves import LeavesDamaged
from server.stores.runs.pruning import delete_unfinished_runs
from server.stores.runs.records import run_record_id
from server.stores.tables import RISK_LEAVES, RUNS
from tests.conftest import LOAD_TIME
from tests.server.churn_runs import ChurnFamily
from tests.server.loading import KEEP
from tests.server.record_logs import NOW, key_locations, open_test_log
from tests.server.run_trees import OLD_ID, add_old_run, change_row, climb, leaves_of, problems, root_over, run_ids

MARKETS = {"DE": 1010, "FR": 30}


@pytest.fixture
def log(database_url: str, tmp_path: Path, churn_family: ChurnFamily) -> Iterator[RecordLog]:
    """Yield a log with a loaded run."""
    with open_test_log(database_url, tmp_path) as found:
        load_file(found.database, churn_family.first_run, LOAD_TIME, key_locations(tmp_path), KEEP)
        yield found


def test_the_recorded_root_is_the_root_of_the_sorted_leaves_of_all_rows(log: RecordLog) -> None:
    (run_id,) = run_ids(log)
    kept = log.find_by_id(run_record_id(run_id))
    assert kept is not None
    for market in pb.RunRecord.FromString(kept.body).markets:
        leaves = leaves_of(log, market.market)

        assert len(leaves) == market.customer_count == MARKETS[market.market]
        assert leaves == sorted(set(leaves))
        assert root_over(leaves) == market.rows_root


def test_the_same_rows_have_different_leaves_in_a_different_log(
    log: RecordLog, churn_family: ChurnFamily, tmp_path: Path
) -> None:
    """A leaf remains after an erasure; as it depends on a key of the log, guessed rows cannot be tested."""
    (tmp_path / "other").mkdir()
    with open_test_log(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other") as second:
        load_file(second.database, churn_family.first_run, LOAD_TIME, key_locations(tmp_path / "other"), KEEP)

        assert not set(leaves_of(log, "DE")) & set(leaves_of(second, "DE"))


def test_a_changed_added_or_deleted_leaf_is_reported(log: RecordLog) -> None:
    (run_id,) = run_ids(log)
    blocks = RISK_LEAVES.c.run_number == select(RUNS.c.run_number).where(RUNS.c.market == "FR").scalar_subquery()
    with log.database.reading() as connection:
        row = connection.execute(select(RISK_LEAVES).where(blocks)).mappings().one()
    damaged = f"run {run_id}, market FR: leaf tile 0 was changed after it was written"
    other = f"run {run_id}, market FR: its leaf hashes differ from the record"
    some = row["hashes"][:-32]
    rewritten = {"hashes": some, "root": root_over([some[at : at + 32] for at in range(0, len(some), 32)])}
    for change, message in (
        ({"hashes": row["hashes"][:-32]}, damaged),
        ({"root": bytes(32)}, damaged),
        ({"first": bytes(32)}, damaged),
        (rewritten, other),
    ):
        with log.database.writing() as connection:
            connection.execute(update(RISK_LEAVES).where(blocks).values(**change))
        assert problems(log) == [message], change
        with log.database.writing() as connection:
            connection.execute(update(RISK_LEAVES).where(blocks).values(**row))
    with log.database.writing() as connection:
        connection.execute(delete(RISK_LEAVES).where(blocks))
    assert problems(log) == [other]


def test_a_changed_manifest_is_reported(log: RecordLog) -> None:
    (run_id,) = run_ids(log)
    with log.database.writing() as connection:
        header = connection.execute(select(RUNS.c.header).where(RUNS.c.market == "FR")).scalar_one()
        changed = update(RUNS).where(RUNS.c.market == "FR").values(header=header.replace('"EUR"', '"USD"'))
        connection.execute(changed)

    assert problems(log) == [f"run {run_id}, market FR: its manifest differs from the record"]


def test_a_run_of_an_earlier_release_is_checked_with_its_erased_row(log: RecordLog) -> None:
    add_old_run(log, "FR")
    whole = problems(log)

    erase_customer(log, ("FR", "C00700"), "request 7", NOW)
    erased = problems(log)
    change_row(log, "C00701", rank=4000)

    assert (whole, erased) == ([], [])
    (run_id,) = run_ids(log) - {OLD_ID}
    message = "market FR: its rows differ from the record"
    assert sorted(problems(log)) == sorted([f"run {OLD_ID}, {message}", f"run {run_id}, {message}"])


def test_leaves_are_deleted_with_their_run(log: RecordLog) -> None:
    with log.database.writing() as connection:
        connection.execute(update(RUNS).where(RUNS.c.market == "FR").values(state="PRUNING"))

    delete_unfinished_runs(log.database)

    with log.database.reading() as connection:
        left = set(connection.execute(select(RISK_LEAVES.c.run_number)).scalars())
        assert left == set(connection.execute(select(RUNS.c.run_number)).scalars())


def test_a_row_is_proved_until_it_is_changed_and_after_it_was_erased(log: RecordLog) -> None:
    (run_id,) = run_ids(log)
    rows, leaves = RunEvidenceReader(log), leaves_of(log, "DE")
    found = rows.find_prediction(run_id, "DE", "C00000")

    proof = rows.prove_row(found)

    assert proof is not None
    assert leaves[proof.index] == found.leaf == hashlib.sha256(b"\x00" + found.content).digest()
    assert climb(proof.index, proof.size, found.leaf, proof.hashes) == root_over(leaves)
    change_row(log, "C00000", hold_out=True)
    with pytest.raises(LeavesDamaged) as caught:
        rows.prove_row(rows.find_prediction(run_id, "DE", "C00000"))
    assert caught.value.field == "row"
    erase_customer(log, ("DE", "C00001"), "request 7", NOW)
    erased = rows.find_prediction(run_id, "DE", "C00001")
    assert (erased.row, erased.content) == (None, b"")
    assert rows.prove_row(erased) is not None
