"""The record log on SQLite and PostgreSQL has every acknowledged record exactly once, with a valid proof."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, event, select, update
from structlog.testing import capture_logs

from grounds_record.header import parse_header
from grounds_record.merkle import verify_consistency, verify_inclusion
from server.errors import (
    RecordDamaged,
    RecordRemoved,
    RecordUnknown,
    RequestIdReused,
    StoreUnavailable,
    TreeSizeUnknown,
)
from server.maintenance.doctor import check_log
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.record_log.entries import Record
from server.stores.record_log.key_store import LOG_OWNER
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import ProofReader
from server.stores.tables import LOG_HEAD, RECORDS, TREE_TWIGS
from tests.record.rfc6962 import mth
from tests.server.record_logs import NOW, entry, newest_checkpoint, open_test_log


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Yield an empty log."""
    with open_test_log(database_url, tmp_path) as found:
        yield found


def leaves(log: RecordLog) -> list[bytes]:
    """Return the leaf data of every record, computed independently of the log."""
    with log.database.reading() as connection:
        rows = connection.execute(select(RECORDS).order_by(RECORDS.c.record_index)).all()
    assert [row.record_index for row in rows] == list(range(len(rows)))
    return [len(row.header).to_bytes(4, "big") + row.header + row.ciphertext for row in rows]


def test_an_appended_record_is_read_back_with_its_header(log: RecordLog) -> None:
    one = entry(b"\x00body\xff")

    kept = log.append([one])[0]
    again = log.find_by_id(one.record_id)

    assert isinstance(kept, Record)
    assert again == kept
    assert (kept.index, kept.body) == (0, b"\x00body\xff")
    assert kept.header.time_us == int(NOW.timestamp()) * 1_000_000 + 123456
    assert kept.header.labels == one.labels
    assert log.find_by_id("00000000-0000-0000-0000-000000000000") is None


def test_after_every_batch_the_signed_root_is_the_rfc_6962_root_of_the_stored_bytes(log: RecordLog) -> None:
    for size in (1, 2, 5, 3):
        log.append([entry() for _ in range(size)])

        checkpoint = newest_checkpoint(log)
        assert checkpoint.root == mth(leaves(log))
        assert checkpoint.size == len(leaves(log))


def test_inclusion_and_consistency_proofs_verify_for_every_tree_size(log: RecordLog) -> None:
    entries = [entry() for _ in range(9)]
    log.append(entries)
    data, proofs = leaves(log), ProofReader(log.database)
    hashes = [mth([one]) for one in data]

    for size in range(1, 10):
        for place in range(size):
            record, proof = proofs.prove_inclusion(entries[place].record_id, size)
            assert record.index == place
            verify_inclusion(place, size, hashes[place], proof, mth(data[:size]))
        for old in range(size + 1):
            verify_consistency(old, size, mth(data[:old]), mth(data[:size]), proofs.prove_consistency(old, size))
    with pytest.raises(TreeSizeUnknown):
        proofs.prove_inclusion(entries[8].record_id, 8)
    with pytest.raises(RecordUnknown):
        proofs.prove_inclusion("00000000-0000-0000-0000-000000000000", 9)


def test_a_duplicate_request_returns_the_first_record_in_the_same_and_in_a_later_batch(log: RecordLog) -> None:
    first = entry(b"first")
    second = replace(entry(b"second"), request_id=first.request_id)
    third = replace(entry(b"third"), request_id=first.request_id)

    outcomes = [*log.append([entry(), first, second]), *log.append([third])]

    assert outcomes[1] == outcomes[2] == outcomes[3]
    assert isinstance(outcomes[1], Record)
    assert outcomes[1].body == b"first"
    assert len(leaves(log)) == 2
    assert log.find_by_request("local", first.request_id, b"content") == outcomes[1]


def test_a_reused_request_id_is_rejected_without_affecting_the_batch(log: RecordLog) -> None:
    first = entry()
    in_batch = replace(entry(content=b"other"), request_id=first.request_id)
    later = replace(entry(content=b"other", customer=("FR", "C1")), request_id=first.request_id)

    one, refused = log.append([first, in_batch])
    refused_later, new = log.append([later, entry()])

    assert isinstance(one, Record)
    assert isinstance(refused, RequestIdReused)
    assert isinstance(refused_later, RequestIdReused)
    assert isinstance(new, Record)
    assert len(leaves(log)) == 2


def test_another_caller_may_use_the_same_request_id(log: RecordLog) -> None:
    first = entry()

    outcomes = log.append([first, replace(entry(), request_id=first.request_id, caller="other")])

    assert [outcome.index for outcome in outcomes if isinstance(outcome, Record)] == [0, 1]


def test_a_record_about_no_customer_has_no_tags(log: RecordLog) -> None:
    run = entry(b"run", kind="CHURN_RUN", customer=None, request_id="", content=b"", labels={"run": "r1"})

    kept = log.append([run])[0]

    assert isinstance(kept, Record)
    assert (kept.header.kind, kept.header.customer_tag, kept.header.content_tag) == ("CHURN_RUN", "", "")
    assert log.find_by_id(run.record_id) == kept


def test_concurrent_appends_of_one_request_write_one_record(log: RecordLog, database_url: str, tmp_path: Path) -> None:
    request = entry()
    with open_test_log(database_url, tmp_path) as other, ThreadPoolExecutor(4) as pool:
        tasks = [
            pool.submit(each.append, [replace(entry(bytes([number])), request_id=request.request_id), entry()])
            for number in range(10)
            for each in (log, other)
        ]
        outcomes = [task.result(30) for task in tasks]

    assert len({outcome[0].body for outcome in outcomes if isinstance(outcome[0], Record)}) == 1
    assert len(leaves(log)) == 21
    assert newest_checkpoint(log).root == mth(leaves(log))


def test_an_invalid_entry_does_not_affect_the_rest_of_its_batch(log: RecordLog) -> None:
    outcomes = log.append([entry(), entry(labels={"market": "not a code"}), entry()])

    assert [isinstance(outcome, Record) for outcome in outcomes] == [True, False, True]
    assert len(leaves(log)) == 2


def test_a_destroyed_key_makes_records_unreadable_and_the_next_record_gets_a_new_key(log: RecordLog) -> None:
    first, other = entry(), entry(customer=("DE", "C2"))
    log.append([first, other])
    with log.database.reading() as connection:
        tag = connection.execute(select(RECORDS.c.customer_tag).where(RECORDS.c.record_index == 0)).scalar_one()
    with log.key_store.database.writing() as connection:
        assert connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == tag)).rowcount == 1

    again, new = log.append([replace(entry(), request_id=first.request_id), entry()])

    assert isinstance(again, RecordRemoved)
    assert isinstance(new, Record)
    with pytest.raises(RecordRemoved):
        log.find_by_id(first.record_id)
    assert log.find_by_id(other.record_id) is not None
    assert new.header.customer_tag == tag


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("others", [0, 1])
def test_a_missing_key_of_the_log_itself_is_never_created_again(log: RecordLog, *, used: bool, others: int) -> None:
    own = [entry(customer=None, request_id="", content=b"") for _ in range(2)]
    log.append(own[:used])
    with log.key_store.database.writing() as connection:
        assert connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == LOG_OWNER)).rowcount == 1

    with capture_logs() as lines, pytest.raises(StoreUnavailable, match="a key of the log is missing"):
        log.append([*(entry() for _ in range(others)), own[1]])

    assert [(line["event"], line["problem"]) for line in lines] == [
        ("keys damaged", "a key of the log itself is missing from the key database: restore it")
    ]
    assert LOG_OWNER not in log.key_store.find_by_owner([LOG_OWNER])
    assert newest_checkpoint(log).size == used
    assert isinstance(log.append([entry()])[0], Record)


def test_damaged_hashes_of_an_old_record_do_not_stop_appends_and_doctor_reports_them(log: RecordLog) -> None:
    log.append([entry() for _ in range(250)])
    with log.database.writing() as connection:
        connection.execute(update(RECORDS).where(RECORDS.c.record_index == 10).values(nodes=b""))

    kept = log.append([entry() for _ in range(10)])

    assert all(isinstance(each, Record) for each in kept)
    with log.database.reading() as connection:
        assert connection.execute(select(TREE_TWIGS)).all() == []
    assert not check_log(log.database, log.verifier, None)[0]


def test_a_record_without_ciphertext_is_reported_as_removed(log: RecordLog) -> None:
    one = entry()
    log.append([one])
    with log.database.writing() as connection:
        connection.execute(update(RECORDS).values(ciphertext=None))

    with pytest.raises(RecordRemoved):
        log.find_by_id(one.record_id)


@pytest.mark.parametrize(
    "damage",
    [
        {"header": b"{}"},
        {"ciphertext": b"x" * 40},
        {"key_id": "0" * 32},
        {"content_tag": "0" * 64},
        {"market": "FR"},
        {"time_us": 0},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_changed_record_is_reported_as_damaged(log: RecordLog, damage: dict[str, object]) -> None:
    one = entry()
    log.append([one])
    with log.database.writing() as connection:
        connection.execute(update(RECORDS).values(**damage))

    again, new = log.append([replace(entry(), request_id=one.request_id), entry()])

    assert isinstance(again, RecordDamaged)
    assert isinstance(new, Record)


def test_a_truncated_or_rewritten_log_accepts_no_appends(log: RecordLog) -> None:
    log.append([entry(), entry()])
    with log.database.reading() as connection:
        before = connection.execute(select(LOG_HEAD)).one()._asdict()
    log.append([entry()])

    for damage in (before, {"size": 4}, {"peaks": b"\x00" * 64}, {"size": 9, "checkpoint": "forged"}):
        with log.database.reading() as connection:
            right = connection.execute(select(LOG_HEAD)).one()._asdict()
        with log.database.writing() as connection:
            connection.execute(update(LOG_HEAD).values(**damage))
        with pytest.raises(StoreUnavailable):
            log.append([entry()])
        with pytest.raises(StoreUnavailable):
            log.probe()
        with log.database.writing() as connection:
            connection.execute(update(LOG_HEAD).values(**right))

    log.probe()
    assert isinstance(log.append([entry()])[0], Record)
    assert len(leaves(log)) == 4


def test_an_append_waits_for_the_head_lock(log: RecordLog, database_url: str, tmp_path: Path) -> None:
    with open_test_log(database_url, tmp_path) as other, ThreadPoolExecutor(1) as pool:
        free = threading.Event()
        with log.database.writing() as connection:
            log.lock_head(connection)
            task = pool.submit(other.append, [entry()])
            threading.Timer(0.2, free.set).start()
            free.wait(10)
            assert not task.done()
        outcome = task.result(20)[0]

    assert isinstance(outcome, Record)


def test_no_column_contains_customer_or_content_unencrypted(log: RecordLog) -> None:
    log.append([entry(b"canary-body", customer=("DE", "canary-customer"), content=b"canary-content")])

    with log.database.reading() as connection:
        row = connection.execute(select(RECORDS)).one()
    assert b"canary" not in b"".join(value for value in row if isinstance(value, bytes))
    assert "canary" not in str([value for value in row if isinstance(value, str)])
    assert parse_header(row.header).customer_tag == row.customer_tag


def test_a_batch_waits_for_one_commit_of_each_database_and_for_none_of_known_keys(log: RecordLog) -> None:
    commits: list[str] = []
    for name, engine in (("log", log.database.engine), ("keys", log.key_store.database.engine)):
        event.listen(engine, "commit", lambda _connection, name=name: commits.append(name))

    log.append([entry(customer=("DE", f"C{number}")) for number in range(40)])
    new, commits[:] = list(commits), []
    log.append([entry(customer=("DE", f"C{number}")) for number in range(40)])

    assert new == ["keys", "log"]
    assert commits == ["log"]
