"""If the clock contradicts the record log, the database server or itself, commands and appends are refused."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs
from typer.testing import CliRunner

from grounds.credit.v1 import credit_pb2_grpc
from server.__main__ import app
from server.application import Application
from server.config import Settings
from server.decisions.retention import read_retention
from server.errors import ClockRefused, RetentionRefused, StoreUnavailable
from server.maintenance.clock import check_clock, check_date, confirm_clock
from server.maintenance.retention import check_share, preview_retention, remove_due_content
from server.stores.clock import Clock, utc_now
from server.stores.database import Database
from server.stores.record_log.log import RecordLog
from server.stores.record_log.opening import open_log
from server.stores.tables import RECORDS
from tests.conftest import key_settings
from tests.e2e.processes import write_config
from tests.server.decisions.test_retention import write_table
from tests.server.record_logs import entry, key_locations, open_test_log
from tests.server.requests import score_request
from tests.server.servers import wait_until

YEARS_30 = dt.timedelta(days=30 * 365)
HOUR = dt.timedelta(hours=1)


class TwoClocks:
    """A wall clock (`at`) and a monotonic clock (`seconds`) that a test sets."""

    def __init__(self, at: dt.datetime) -> None:
        self.at, self.seconds = at, 0.0

    def pass_time(self, time: dt.timedelta) -> None:
        """Advance both clocks by the same time."""
        self.at, self.seconds = self.at + time, self.seconds + time.total_seconds()

    def clock(self) -> Clock:
        """Return a `Clock` that reads both clocks."""
        return Clock(lambda: self.at, lambda: self.seconds)


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[RecordLog]:
    """Open a record log whose newest record has the current time."""
    with open_test_log(database_url, tmp_path) as found:
        found.append([entry(time=utc_now())])
        yield found


def contradictions(
    log: RecordLog, offset: dt.timedelta, mark: Path | None = None, anchor_folder: Path | None = None
) -> str:
    """Return the message with which a command refuses a clock that is wrong by `offset`; "" if it accepts the clock."""
    try:
        clock = TwoClocks(utc_now() + offset).clock()
        check_clock(log.database, clock, mark=mark, anchor_folder=anchor_folder)
    except ClockRefused as error:
        return str(error)
    return ""


def record_count(log: RecordLog) -> int:
    """Return the number of records of the log."""
    with log.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(RECORDS)).scalar_one()


def test_a_command_refuses_a_clock_ahead_of_or_behind_the_newest_record(log: RecordLog) -> None:
    assert contradictions(log, dt.timedelta(0)) == ""
    assert contradictions(log, dt.timedelta(minutes=4)) == ""
    assert "but the newest record is of" in contradictions(log, YEARS_30)
    assert "but the newest record is of" in contradictions(log, -HOUR)


def test_a_command_refuses_a_clock_that_differs_from_the_clock_of_postgresql(log: RecordLog) -> None:
    message = contradictions(log, HOUR)

    on_postgresql = log.database.engine.dialect.name == "postgresql"
    assert ("the clock of the database server shows" in message) == on_postgresql


def test_a_command_refuses_a_clock_behind_the_time_of_the_high_water_mark_or_an_anchor(
    log: RecordLog, tmp_path: Path
) -> None:
    mark, anchors = log.high_water_mark.path, tmp_path / "anchors"
    anchors.mkdir()
    anchor = anchors / "checkpoint-00000000000000000001.txt"
    anchor.write_text("")
    ahead = (utc_now() + HOUR).timestamp()

    assert contradictions(log, dt.timedelta(0), mark=mark, anchor_folder=anchors) == ""
    os.utime(anchor, (ahead, ahead))
    assert f"the file {anchor} is of" in contradictions(log, dt.timedelta(0), mark=mark, anchor_folder=anchors)
    os.utime(mark, (ahead, ahead))
    assert f"the file {mark} is of" in contradictions(log, dt.timedelta(0), mark=mark)


def test_a_clock_that_is_changed_during_a_run_stops_the_removal(log: RecordLog, tmp_path: Path) -> None:
    times = TwoClocks(utc_now())
    log.append([entry(time=utc_now() - dt.timedelta(days=20 * 365)) for _ in range(4)])
    clock, table = times.clock(), read_retention(write_table(tmp_path))
    times.pass_time(HOUR)

    removal = remove_due_content(log, table, times.at, batch=2, clock=clock)
    removed = next(removal)
    times.at += HOUR
    with pytest.raises(ClockRefused, match="by the time since the start of this process"):
        next(removal)

    assert removed == 2


def test_a_large_share_of_the_records_needs_a_confirmation_with_their_number(log: RecordLog, tmp_path: Path) -> None:
    log.append([entry(time=utc_now() - dt.timedelta(days=20 * 365))])
    counts, _ = preview_retention(log, read_retention(write_table(tmp_path)), utc_now())

    with pytest.raises(RetentionRefused, match=r"1 of 2 records are due.*--confirm-records 1"):
        check_share(counts, None)
    with pytest.raises(RetentionRefused, match="--confirm-records is 2, but 1 records are due"):
        check_share(counts, 2)
    check_share(counts, 1)


def test_the_date_must_be_typed_to_confirm_the_clock() -> None:
    clock = TwoClocks(utc_now() + YEARS_30).clock()

    with pytest.raises(ClockRefused, match="but --today is"):
        check_date(clock, utc_now().date())
    check_date(clock, clock.now().date())


def test_after_a_confirmation_the_commands_accept_a_log_with_records_from_the_future(log: RecordLog) -> None:
    log.append([entry(time=utc_now() + YEARS_30)])
    mark = log.high_water_mark.path
    ahead = (utc_now() + HOUR).timestamp()
    os.utime(mark, (ahead, ahead))
    before = contradictions(log, dt.timedelta(0), mark=mark)

    confirm_clock(log, "the clock of the server was wrong", Clock())

    assert "the newest record is of" in before
    assert contradictions(log, dt.timedelta(0), mark=mark) == ""


def test_a_server_appends_nothing_while_its_clock_is_wrong_and_continues_when_the_clock_is_right(
    database: Database, tmp_path: Path
) -> None:
    times = TwoClocks(utc_now())
    log = open_log(database, key_locations(tmp_path), times.clock())
    log.append([entry(time=times.at)])

    for wrong in (HOUR, -HOUR):
        times.at += wrong
        with capture_logs() as events, pytest.raises(StoreUnavailable, match="the clock of the server is wrong"):
            log.append([entry(time=times.at)])
        with pytest.raises(StoreUnavailable, match="the clock of the server is wrong"):
            log.probe()
        times.at -= wrong
        log.probe()
        assert [event["event"] for event in events] == ["clock wrong"]

    log.append([entry(time=times.at)])
    assert record_count(log) == 2
    log.close()


def test_a_record_that_got_its_time_while_the_clock_was_wrong_is_refused_even_if_the_clock_is_right_again(
    database: Database, tmp_path: Path
) -> None:
    times = TwoClocks(utc_now())
    log = open_log(database, key_locations(tmp_path), times.clock())
    for wrong in (dt.timedelta(days=400), -dt.timedelta(days=400)):
        with capture_logs() as events, pytest.raises(StoreUnavailable, match="the clock of the server is wrong"):
            log.append([entry(time=times.at), entry(time=times.at + wrong)])
        assert "so the clock was wrong for a while" in events[0]["problem"]

    log.append([entry(time=times.at)])
    assert record_count(log) == 1
    log.close()


def test_a_server_that_starts_with_its_clock_behind_the_newest_record_appends_nothing(
    database: Database, tmp_path: Path
) -> None:
    first = open_log(database, key_locations(tmp_path))
    first.append([entry(time=utc_now() + HOUR)])
    first.close()

    log = open_log(database, key_locations(tmp_path), Clock())
    with capture_logs() as events, pytest.raises(StoreUnavailable):
        log.append([entry(time=utc_now())])
    confirm_clock(log_without_check := open_log(database, key_locations(tmp_path)), "the clock was wrong", Clock())
    log.probe()
    log.append([entry(time=utc_now())])

    assert "but the newest record is of" in events[0]["problem"]
    assert record_count(log) == 3
    log.close()
    log_without_check.close()


@pytest.mark.parametrize(
    "words",
    [
        ("retain", "--apply", "--confirm-records", "1"),
        ("erase", "DE", "C1", "--reason", "request 7", "--apply"),
    ],
)
def test_commands_refuse_a_log_that_was_idle_for_years_until_the_date_is_confirmed(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'log.db'}"
    with open_test_log(database, tmp_path, origin="grounds.local/log") as log:
        log.append([entry(time=utc_now() - dt.timedelta(days=20 * 365))])
    settings = {"database": database, "retention": write_table(tmp_path), **key_settings(tmp_path)}
    config = write_config(tmp_path / "config.toml", settings)

    refused = CliRunner().invoke(app, [*words, "--config", str(config)])
    confirmed = CliRunner().invoke(
        app,
        ["confirm-clock", "--today", f"{utc_now():%Y-%m-%d}", "--reason", "idle", "--apply", "--config", str(config)],
    )
    accepted = CliRunner().invoke(app, [*words, "--config", str(config)])

    assert isinstance(refused.exception, ClockRefused)
    assert confirmed.exit_code == 0, confirmed.output
    assert accepted.exit_code == 0, accepted.output


async def test_a_server_decides_nothing_while_its_clock_is_wrong_and_serves_again_by_itself(
    small_settings: Settings,
) -> None:
    times, application = TwoClocks(utc_now()), Application(small_settings)
    application.clock, application.idle_probe_seconds = times.clock(), 0.05
    await application.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
        credit = credit_pb2_grpc.CreditServiceStub(channel)
        await credit.ScoreCredit(score_request())

        times.at += YEARS_30
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await credit.ScoreCredit(score_request())
        assert application.recorder is not None
        assert not application.recorder.writable
        times.at -= YEARS_30

        async def writable() -> bool:
            return application.recorder is not None and application.recorder.writable

        await wait_until(writable)
        await credit.ScoreCredit(score_request())
    await application.stop()

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the clock of the server is wrong; nothing was decided" in str(refused.value.details())
