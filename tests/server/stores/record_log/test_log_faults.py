"""Fail the n-th write, for every n: no acknowledged record is lost, and no decision is answered without a record."""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import sqlalchemy
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import Connection, event, func, select
from sqlalchemy.exc import OperationalError

from grounds.credit.v1 import credit_pb2 as pb
from grounds_record.note import VerifierKey
from server.application import Application
from server.config import Settings
from server.errors import StoreUnavailable
from server.maintenance.doctor import check_log
from server.stores.database import Database
from server.stores.record_log.entries import Record
from server.stores.record_log.log import RecordLog
from server.stores.tables import RECORDS
from tests.conftest import LOAD_TIME, Serving
from tests.server.loading import load_file
from tests.server.record_logs import entry, open_test_log
from tests.server.requests import call_error, customer, raw_method, score_request
from tests.server.servers import record_count, wait_until
from tests.small import SmallFamily

DOWN = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
STATEMENTS_MAX = 40
WAL_STEP = 2060  # half of a WAL frame (header and page), so that writes fail within a page and between two pages


class Fault:
    """Makes the n-th step of a writing transaction fail: a statement, a commit, or the reply to a successful commit.

    Attributes:
        left: Number of steps before the fault. If 0, the next step fails, and later steps succeed.
    """

    def __init__(self, *databases: Database) -> None:
        self.left: int | None = None
        for database in databases:
            event.listen(database.engine, "begin", self.step)
            event.listen(database.engine, "before_cursor_execute", self.statement)
            event.listen(database.engine, "commit", self.commit)

    def statement(self, connection: Connection, *_: object) -> None:
        """Count a statement."""
        if connection.get_execution_options().get("writing"):
            self.step(connection)

    def commit(self, connection: Connection) -> None:
        """Count a commit as two steps: the commit itself can fail, or its reply can be lost after the commit."""
        self.step(connection)
        if self.left == 0:
            connection.connection.commit()
        self.step(connection)

    def step(self, _connection: Connection) -> None:
        """Fail if no steps are left."""
        if self.left is None or not threading.current_thread().name.startswith("recorder"):
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise OperationalError("a write", None, sqlite3.OperationalError("disk I/O error"))


class Breakable(Application):
    """A server whose writes can be made to fail, and which does not probe by itself."""

    idle_probe_seconds = 3600.0
    fault: Fault

    def _open_log(self) -> RecordLog:
        """Open the log, and install the fault before the server uses the log."""
        log = super()._open_log()
        self.fault = Fault(log.database, log.key_store.database)
        return log


@pytest.fixture
async def either(database_url: str, small: SmallFamily, small_settings: Settings) -> AsyncIterator[Serving]:
    """Serve the small family on a database of each kind."""
    database = Database(database_url)
    database.migrate()
    load_file(database, small.features, LOAD_TIME)
    database.close()
    application = Breakable(small_settings.model_copy(update={"database": database_url}))
    await application.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
        yield Serving(application, application.settings, channel)
    await application.stop()


def verifier(serving: Serving) -> VerifierKey:
    """Return the public key of the server's log."""
    assert serving.application.log is not None
    return serving.application.log.verifier


async def test_after_any_failed_write_no_answer_is_unrecorded_and_a_retry_succeeds(either: Serving) -> None:
    log = either.application.log
    assert log is not None
    fault = either.application.fault  # type: ignore[attr-defined]
    answers: dict[str, bytes] = {}
    for number in range(STATEMENTS_MAX):
        # Each request has a new customer, so that the write of the customer's key can fail too.
        asked = score_request(customer=customer("DE", f"C{2 * number:05d}"))
        fault.left = number
        call = raw_method(either.channel, "ScoreCredit")(asked.SerializeToString())
        code = await call.code()
        first = await call if code == grpc.StatusCode.OK else None
        passed, fault.left = fault.left is not None, None
        assert code == (grpc.StatusCode.OK if passed else grpc.StatusCode.UNAVAILABLE)
        answer = await raw_method(either.channel, "ScoreCredit")(asked.SerializeToString())
        assert first in {None, answer}
        answers[asked.request_id] = answer
        if passed:
            break

    assert passed, "the test must fail every write"
    assert number >= 8
    assert record_count(either) == len(answers)
    for answer in answers.values():
        name = pb.ScoreCreditResponse.FromString(answer).credit_decision.record_ref.decision_id
        request = pb.GetCreditDecisionRequest(decision_id=name).SerializeToString()
        assert await raw_method(either.channel, "GetCreditDecision")(request) == answer
    assert check_log(log.database, verifier(either), None)[0]


async def test_health_is_not_serving_while_nothing_can_be_written(either: Serving) -> None:
    health = health_pb2_grpc.HealthStub(either.channel)
    asked = health_pb2.HealthCheckRequest(service="grounds.credit.v1.CreditService")
    engine = sqlalchemy.create_engine(either.settings.database)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE log_head RENAME TO away")
    error = await call_error(either.credit.ScoreCredit(score_request()))
    during = [(await health.Check(request)).status for request in (asked, health_pb2.HealthCheckRequest())]
    await asyncio.sleep(0.7)  # long enough for a probe to fail
    still = (await health.Check(asked)).status

    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO log_head")
    engine.dispose()

    async def serving_again() -> bool:
        return (await health.Check(asked)).status == SERVING

    await wait_until(serving_again)
    assert (error.code, error.reason) == DOWN
    assert [*during, still] == [NOT_SERVING] * 3
    assert record_count(either) == 0


@contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    """Make the operating system refuse to write beyond a file length, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_batch_is_atomic_wherever_the_disk_fills_up(tmp_path: Path) -> None:
    """The disk is full at every half page that a batch writes; the database is SQLite."""
    url, failures = f"sqlite:///{tmp_path / 'log.db'}", 0
    with open_test_log(url, tmp_path) as log:
        acknowledged = [outcome.header.record_id for outcome in log.append([entry()]) if isinstance(outcome, Record)]
        for step in range(200):
            with log.database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            batch = [entry(b"x" * 3000, customer=("DE", f"C{step}")) for _ in range(4)]
            try:
                with files_no_longer_than(step * WAL_STEP):
                    outcomes = log.append(batch)
            except StoreUnavailable:
                failures += 1
                with log.database.reading() as connection:
                    count = connection.execute(select(func.count()).select_from(RECORDS)).scalar_one()
                assert count == len(acknowledged)
                continue
            acknowledged += [outcome.header.record_id for outcome in outcomes if isinstance(outcome, Record)]
            break
        found = [log.find_by_id(record_id) for record_id in acknowledged]
        holds, said = check_log(log.database, log.verifier, None)

    assert failures >= 8
    assert len(acknowledged) == 5
    assert None not in found
    assert holds, said
