"""Warm-up: the first call is as fast as later calls, and the warm-up writes no data."""

import gc
import itertools
import logging
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sqlalchemy import Connection, select, text
from structlog.testing import capture_logs

from server.application import SERVICES, Application
from server.config import Settings
from server.edges.warm_up import freeze_startup_objects, warm_up
from server.stores.database import Database
from server.stores.features import FeatureStore
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.record_log.proofs import ProofReader
from server.stores.tables import LOG_HEAD, RECORDS, TREE_TWIGS
from tests.conftest import Serving
from tests.server.audits import read_evidence, score_customer
from tests.server.record_logs import entry, open_test_log
from tests.server.requests import score_request
from tests.small import SmallFamily

TIMED = """
import sys, time
from google.protobuf import message_factory
from server.application import SERVICES
from server.edges.warm_up import compile_validation_rules
from server.edges.validation import VALIDATOR
if sys.argv[1] == "True":
    compile_validation_rules(SERVICES)
for kind in [method.input_type for each in SERVICES for method in each.methods]:
    request, moments = message_factory.GetMessageClass(kind)(), [time.perf_counter()]
    for turn in (1, 2):
        VALIDATOR.collect_violations(request)
        moments.append(time.perf_counter())
    print((moments[1] - moments[0]) / (moments[2] - moments[1]))
"""


async def test_the_first_decision_and_its_evidence_use_compiled_statements(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLAlchemy logs for each statement whether it was generated or found in the cache.

    Statements of background tasks are ignored; they run in the threads of the housekeepers.
    """
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        decision = await score_customer(serving)
        await read_evidence(serving, decision.record_ref.decision_id)

    housekeepers = serving.application.housekeepers._pool
    assert isinstance(housekeepers, ThreadPoolExecutor)
    background = {thread.ident for thread in housekeepers._threads}
    of_calls = [record for record in caplog.records if record.thread not in background]
    statements = [record.getMessage() for record in of_calls if record.name.startswith("sqlalchemy.engine")]
    assert sum("[cached since" in line for line in statements) >= 8
    assert not [before for before, line in itertools.pairwise(statements) if "[generated in" in line]


def table_contents(connection: Connection) -> list[object]:
    """Return the content of all tables of a log."""
    return [connection.execute(select(table)).all() for table in (RECORDS, LOG_HEAD, TREE_TWIGS)]


@pytest.mark.parametrize("count", [0, 3, 255])
def test_a_warm_up_writes_no_data(database_url: str, tmp_path: Path, small: SmallFamily, count: int) -> None:
    """With 255 records in the log, the rolled-back record would complete a tile."""
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry() for _ in range(count)])
        with log.database.reading() as connection, log.key_store.database.reading() as keys:
            before = table_contents(connection), keys.execute(select(WRAPPED_KEYS)).all()

        warm_up(log, FeatureStore(log.database), [small.bundle().schema])

        with log.database.reading() as connection, log.key_store.database.reading() as keys:
            assert (table_contents(connection), keys.execute(select(WRAPPED_KEYS)).all()) == before
        log.append([entry() for _ in range(2)])
        records = list(ProofReader(log.database).read_all(count + 2))
        assert [record.index for record in records] == list(range(count + 2))


def validation_time_ratios(*, warmed_up: bool) -> list[float]:
    """Return, for each request type, how many times longer its first validation took than its second."""
    found = subprocess.run([sys.executable, "-c", TIMED, str(warmed_up)], check=True, capture_output=True, text=True)
    return [float(line) for line in found.stdout.splitlines()]


def test_the_rules_of_every_request_are_compiled_before_the_first_call() -> None:
    """The library shows compiled rules only by its timing: without them, a validation takes 3 to 500 times as long."""
    requests = sum(len(each.methods) for each in SERVICES)

    warmed_up, without = validation_time_ratios(warmed_up=True), validation_time_ratios(warmed_up=False)

    assert len(warmed_up) == len(without) == requests > 20
    assert statistics.median(warmed_up) < 3 < statistics.median(without)


async def test_a_failed_warm_up_is_logged_and_the_server_serves(small_settings: Settings) -> None:
    database = Database(small_settings.database)
    with capture_logs() as lines, rename_table(database, "features", "elsewhere"):
        application = Application(small_settings)
        await application.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
            answer = await Serving(application, small_settings, channel).credit.ScoreCredit(score_request())
    finally:
        await application.stop()
        database.close()

    (failed,) = [line for line in lines if line["event"] == "background task failed"]
    assert (failed["task"], failed["error"]) == ("warm_up", "StoreUnavailable")
    assert answer.credit_decision.record_ref.decision_id


@contextmanager
def rename_table(database: Database, table: str, other: str) -> Iterator[None]:
    """Rename a table for the duration of the block."""
    for old, new in ((table, other), (other, table)):
        with database.writing() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
        if new == other:
            yield


def test_startup_objects_are_exempt_from_garbage_collection() -> None:
    before = gc.get_freeze_count()
    try:
        freeze_startup_objects()
        assert gc.get_freeze_count() > before
        assert len(gc.get_objects()) < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
