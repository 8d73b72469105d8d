"""Unavailable stores: a decision that is not recorded is never answered."""

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2 as pb
from grounds.model.v1 import model_pb2
from server.config import Settings
from server.errors import StoreUnavailable
from server.stores.database import BUSY_SECONDS, Database
from server.stores.outage_causes import outage_cause
from tests.conftest import LOAD_TIME, Serving
from tests.server.loading import load_file
from tests.server.requests import call_error, raw_method, score_request, simulate_request
from tests.server.servers import record_count, serve, wait_until
from tests.small import SmallFamily

CREDIT = "grounds.credit.v1.CreditService"
GARBAGE = b"this is no database " * 500
DOWN = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


@contextmanager
def remove_table(serving: Serving, table: str) -> Iterator[None]:
    """Remove a table for the duration of the block."""
    engine = sqlalchemy.create_engine(serving.settings.database)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE away RENAME TO {table}")
        engine.dispose()


def closed_database_file(serving: Serving) -> Path:
    """Return the file of the database, after closing all connections to it."""
    serving.application.database.close()
    return Path(serving.settings.database.removeprefix("sqlite:///"))


@pytest.mark.parametrize("table", ["records", "log_head", "features"])
async def test_a_decision_fails_without_its_table_and_succeeds_on_retry(serving: Serving, table: str) -> None:
    request = score_request()
    with remove_table(serving, table):
        error = await call_error(serving.credit.ScoreCredit(request))

    answer = await serving.credit.ScoreCredit(request)

    assert (error.code, error.reason) == DOWN
    assert "C00000" not in error.everything
    assert table not in error.everything
    assert answer.credit_decision.record_ref.request_id == request.request_id


async def test_every_other_call_fails_without_its_table(serving: Serving) -> None:
    decision_id = (await serving.credit.ScoreCredit(score_request())).credit_decision.record_ref.decision_id

    with remove_table(serving, "records"):
        again = await call_error(serving.credit.GetCreditDecision(pb.GetCreditDecisionRequest(decision_id=decision_id)))
    with remove_table(serving, "features"):
        what_if = await call_error(serving.credit.SimulateCredit(simulate_request()))
    with remove_table(serving, "runs"):
        risks = await call_error(serving.churn.ListChurnRisks(churn_pb2.ListChurnRisksRequest(market="DE")))

    for error in (again, what_if, risks):
        assert (error.code, error.reason) == DOWN


@pytest.mark.parametrize("broken", ["folder", "garbage"])
async def test_a_database_that_breaks_while_the_server_runs_is_unavailable(serving: Serving, broken: str) -> None:
    file = closed_database_file(serving)
    file.unlink()
    if broken == "folder":
        file.mkdir()
    else:
        file.write_bytes(GARBAGE)

    error = await call_error(serving.credit.ScoreCredit(score_request()))

    assert (error.code, error.reason) == DOWN
    assert str(file) not in error.everything


async def health_is(serving: Serving, status: int) -> bool:
    """Return whether CreditService and the server have a health status."""
    checks = [health_pb2.HealthCheckRequest(service=service) for service in ("", CREDIT)]
    health = health_pb2_grpc.HealthStub(serving.channel)
    return [(await health.Check(request)).status for request in checks] == [status] * 2


async def test_without_a_database_models_are_listed_and_health_is_not_serving(serving: Serving) -> None:
    """No write is attempted, because a decision fails when its features are read."""
    file = closed_database_file(serving)
    whole = file.rename(file.with_suffix(".whole"))
    file.mkdir()

    refused = await call_error(serving.credit.ScoreCredit(score_request()))
    await wait_until(lambda: health_is(serving, health_pb2.HealthCheckResponse.NOT_SERVING))
    models = await serving.models.ListModels(model_pb2.ListModelsRequest())
    file.rmdir()
    whole.rename(file)
    await wait_until(lambda: health_is(serving, health_pb2.HealthCheckResponse.SERVING))
    answer = await serving.credit.ScoreCredit(score_request())

    assert (refused.code, refused.reason) == DOWN
    assert len(models.models) == 1
    assert answer.credit_decision.record_ref.decision_id


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_call_that_waits_for_a_postgresql_lock_fails_within_the_time_limit(
    database_url: str, small: SmallFamily, small_settings: Settings
) -> None:
    database = Database(database_url)
    database.migrate()
    load_file(database, small.features, LOAD_TIME)
    database.close()
    engine = sqlalchemy.create_engine(database_url)
    async with serve(small_settings.model_copy(update={"database": database_url})) as serving:
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE features, log_head IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(BUSY_SECONDS * 1.5):
                error = await call_error(serving.credit.ScoreCredit(score_request()))
                await wait_until(lambda: health_is(serving, health_pb2.HealthCheckResponse.NOT_SERVING))
        answer = await serving.credit.ScoreCredit(score_request())
    engine.dispose()

    assert (error.code, error.reason) == DOWN
    assert answer.credit_decision.record_ref.decision_id


async def test_a_decision_that_cannot_be_written_is_not_answered(serving: Serving) -> None:
    """The lookup of an earlier answer succeeds and the write fails, as with a full disk."""
    request = score_request().SerializeToString()
    engine = sqlalchemy.create_engine(serving.settings.database)
    with engine.begin() as connection:
        full = "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        connection.exec_driver_sql(full)
    error = await call_error(raw_method(serving.channel, "ScoreCredit")(request))
    assert record_count(serving) == 0
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    engine.dispose()

    answers = await asyncio.gather(*(raw_method(serving.channel, "ScoreCredit")(request) for _ in range(2)))

    assert (error.code, error.reason) == DOWN
    assert answers[0] == answers[1]


async def test_the_log_states_the_cause_of_an_outage_once(serving: Serving) -> None:
    """The planted fault: another file replaces the database file."""
    file = closed_database_file(serving)
    with capture_logs() as lines:
        whole = file.rename(file.with_suffix(".whole"))
        file.write_bytes(GARBAGE)
        await wait_until(lambda: health_is(serving, health_pb2.HealthCheckResponse.NOT_SERVING))
        error = await call_error(serving.credit.ScoreCredit(score_request()))
        await asyncio.sleep(1.2)  # two more probes, which log nothing
        serving.application.database.close()
        whole.replace(file)
        await wait_until(lambda: health_is(serving, health_pb2.HealthCheckResponse.SERVING))

    *outages, recovery = [line for line in lines if line["event"] == "record log"]
    (cause,) = [line["cause"] for line in outages]
    assert cause.startswith("the database file was deleted or replaced while the server was running; stop the server")
    assert recovery["writable"]
    assert [line["cause"] for line in lines if line["event"] == "call"] == [cause]
    assert (error.code, error.reason) == DOWN


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"database": "no_such_database"}, "PostgreSQL has no database of this name"),
        ({"port": 1}, "PostgreSQL does not listen at its address"),
        ({"username": "nobody_at_all"}, "PostgreSQL rejected the user or the password"),
        ({"host": "no-such-host.invalid"}, "the host of PostgreSQL is unknown"),
    ],
)
def test_an_outage_of_postgresql_has_its_cause(database_url: str, change: dict[str, Any], cause: str) -> None:
    url = sqlalchemy.make_url(database_url).set(**change)
    if {"port", "host"} & change.keys():
        url = url.set(host=change.get("host", "127.0.0.1"), query={})
    database = Database(url.render_as_string(hide_password=False))
    with pytest.raises(StoreUnavailable) as caught, database.reading():
        pass
    database.close()

    assert caught.value.cause.startswith(cause)


def test_the_cause_of_an_outage_of_sqlite_is_a_full_disk_or_garbage_in_place_of_the_file(tmp_path: Path) -> None:
    """The page limit of SQLite fails with the same error code as a full disk."""
    file = tmp_path / "grounds.db"
    file.write_bytes(GARBAGE)
    garbage, database = Database(f"sqlite:///{file}"), Database("sqlite://")
    with pytest.raises(StoreUnavailable, match="the file is not a database: check") as refused, garbage.reading():
        pass
    garbage.close()

    def fill() -> None:
        with database.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 2")
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT randomblob(100000)")

    with pytest.raises(StoreUnavailable) as caught:
        fill()
    database.close()

    assert refused.value.cause == str(refused.value)
    assert caught.value.cause.startswith("the disk is full")
    assert outage_cause(OSError(errno.ENOSPC, "no space")).startswith("the disk is full")
