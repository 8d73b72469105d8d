"""The metrics that are read when they are scraped: queues, calls in progress, background tasks, models, and the stores.

A scrape never waits for a database. A background task reads the figures of the databases, and a scrape reports the
newest ones.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from server.background import TaskStatus
from server.edges.limits import CallLimits
from server.edges.recording.recorder import Recorder
from server.edges.thread_pool import StoreThreads
from server.errors import StoreUnavailable
from server.registry.model_registry import ServingModels
from server.stores.certificates import certificate_end
from server.stores.database import Database
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.tables import LOG_HEAD, RECORDS, RUNS

MEASURE_SECONDS = 15.0  # pause between two readings of the databases
_RECORDS, _KEYS = "records", "keys"  # values of the label `database`
_US_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Figures of the databases at one time.

    Attributes:
        up: Whether each database answered, by name.
        log_size: Number of records of the record log; None if the database did not answer.
        newest_record: Time of the newest record in seconds since 1970; None if there is none.
        newest_cuts: As-of time of the newest run of each market, in seconds since 1970.
        file_bytes: Size of each database and of its write-ahead log in bytes, by name and by kind of file.
    """

    up: Mapping[str, bool] = field(default_factory=dict)
    log_size: int | None = None
    newest_record: float | None = None
    newest_cuts: Mapping[str, float] = field(default_factory=dict)
    file_bytes: Mapping[tuple[str, str], int] = field(default_factory=dict)


def read_store_figures(database: Database, keys: Database) -> StoreFigures:
    """Read the figures of both databases. A database that does not answer is reported as down."""
    up, sizes, log = dict.fromkeys((_RECORDS, _KEYS), False), dict[tuple[str, str], int](), StoreFigures()
    for name, each in ((_RECORDS, database), (_KEYS, keys)):
        try:
            sizes |= {(name, kind): size for kind, size in _database_bytes(each)}
            if name == _RECORDS:
                log = _read_log_figures(each)
            up[name] = True
        except StoreUnavailable:
            continue  # the recorder logs the cause
    return StoreFigures(up, log.log_size, log.newest_record, log.newest_cuts, sizes)


def _read_log_figures(database: Database) -> StoreFigures:
    """Read the size of the record log, and the times of its newest record and of the newest runs.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    newest = select(RECORDS.c.time_us).order_by(RECORDS.c.record_index.desc()).limit(1)
    of_family = select(RUNS.c.market, func.max(RUNS.c.as_of).label("as_of")).where(RUNS.c.state == "LOADED")
    each = of_family.group_by(RUNS.c.market, RUNS.c.family).subquery()
    cuts = select(each.c.market, func.min(each.c.as_of)).group_by(each.c.market)  # the family with the oldest run
    with database.reading() as connection:
        size = connection.execute(select(LOG_HEAD.c.size)).scalar()
        time_us = connection.execute(newest).scalar()
        found = {market: _seconds(as_of) for market, as_of in connection.execute(cuts)}
    return StoreFigures(
        log_size=size, newest_record=None if time_us is None else time_us / _US_PER_SECOND, newest_cuts=found
    )


def _seconds(time_utc: dt.datetime) -> float:
    """Return a time in seconds since 1970. SQLite returns times without a time zone, which are in UTC."""
    return (time_utc if time_utc.tzinfo else time_utc.replace(tzinfo=dt.UTC)).timestamp()


def _database_bytes(database: Database) -> Iterator[tuple[str, int]]:
    """Yield the size of a database and of its write-ahead log. PostgreSQL reports only the size of the database.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    if database.engine.dialect.name == "postgresql":
        with database.reading() as connection:
            size = connection.execute(sqlalchemy.text("SELECT pg_database_size(current_database())")).scalar_one()
        yield "database", int(size)
        return
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master")
    path = str(database.engine.url.database)
    for kind, name in (("database", path), ("wal", f"{path}-wal")):
        if Path(name).is_file():
            yield kind, Path(name).stat().st_size


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The parts of a server whose state is measured.

    Attributes:
        limits: The limits on calls.
        recorder: Returns the recorder; None while the server starts.
        pools: The thread pools, by name.
        tasks: Returns the status of each background task.
        models: Returns the models that serve.
        policy: Returns version and SHA-256 of the policy in force; None while the server starts.
        anchors: Returns the object that pushes checkpoints to the anchors.
        certificates: PEM files of certificates, by setting.
    """

    limits: CallLimits
    recorder: Callable[[], Recorder | None]
    pools: Mapping[str, StoreThreads]
    tasks: Callable[[], Mapping[str, TaskStatus]]
    models: Callable[[], ServingModels]
    policy: Callable[[], tuple[str, str] | None]
    anchors: Callable[[], CheckpointAnchor]
    certificates: Mapping[str, Path]


class ServerMeasurements(Collector):
    """Reports the state of a server. A thread of the endpoint calls `collect`.

    Attributes:
        parts: The parts of the server.
        figures: The newest figures of the databases, which a background task replaces.
    """

    def __init__(self, parts: ServerParts) -> None:
        """Create a collector, which reads nothing until the first scrape."""
        self.parts = parts
        self.figures = StoreFigures()

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        yield from self._calls()
        yield from self._record_log()
        yield from self._databases()
        yield from self._tasks()
        yield from self._models()
        yield from self._certificates()

    def _calls(self) -> Iterator[Metric]:
        """Yield the calls in progress and the queues of threads."""
        limits = self.parts.limits
        yield _gauge(
            "grounds_calls_in_flight",
            "Calls in progress.",
            "class",
            {each.value: count for each, count in limits.in_progress().items()},
        )
        yield _gauge(
            "grounds_calls_in_flight_limit",
            "Largest number of calls in progress.",
            "class",
            {each.value: count for each, count in limits.in_progress_max.items()},
        )
        waiting = {name: pool.waiting for name, pool in self.parts.pools.items()}
        yield _gauge("grounds_store_threads_waiting", "Tasks that wait for a thread of a pool.", "pool", waiting)
        busy = {name: pool.busy for name, pool in self.parts.pools.items()}
        yield _gauge("grounds_store_threads_busy", "Threads of a pool that work.", "pool", busy)

    def _record_log(self) -> Iterator[Metric]:
        """Yield the state of the recorder, the record log and its anchors."""
        recorder, anchors, figures = self.parts.recorder(), self.parts.anchors(), self.figures
        writable = None if recorder is None else float(recorder.writable)
        yield _number("grounds_record_log_writable", "1 if records can be written.", writable)
        yield _number(
            "grounds_recorder_queue_records",
            "Records that wait to be written.",
            None if recorder is None else recorder.queue_length,
        )
        rejected, dropped = (0, 0) if recorder is None else (recorder.rejected, recorder.dropped)
        yield _counter("grounds_recorder_rejected", "Records rejected by a full queue.", rejected)
        yield _counter("grounds_recorder_dropped", "Records of calls that gave up.", dropped)
        yield _counter("grounds_anchor_failures", "Failed pushes of a checkpoint to an anchor.", anchors.failures)
        yield _number(
            "grounds_anchor_age_seconds",
            "Time since the newest checkpoint was known to have reached every anchor.",
            None if anchors.succeeded_at is None else time.monotonic() - anchors.succeeded_at,
        )
        yield _number("grounds_record_log_records", "Records of the log.", figures.log_size)
        yield _number(
            "grounds_anchor_lag_records",
            "Records that no anchored checkpoint of this process covers.",
            None if figures.log_size is None else max(0, figures.log_size - anchors.pushed_size),
        )
        yield _number(
            "grounds_record_log_newest_timestamp_seconds",
            "Time of the newest record and its checkpoint.",
            figures.newest_record,
        )

    def _databases(self) -> Iterator[Metric]:
        """Yield health and size of the databases, and the newest runs."""
        figures = self.figures
        up = {name: float(is_up) for name, is_up in figures.up.items()}
        yield _gauge("grounds_database_up", "1 if the database answers.", "database", up)
        sizes = GaugeMetricFamily("grounds_database_bytes", "Size of database files.", labels=("database", "file"))
        for labels, size in figures.file_bytes.items():
            sizes.add_metric(labels, size)
        yield sizes
        yield _gauge(
            "grounds_newest_run_cut_timestamp_seconds", "Cut of the newest run.", "market", figures.newest_cuts
        )

    def _tasks(self) -> Iterator[Metric]:
        """Yield the state of the background tasks."""
        tasks = self.parts.tasks()
        healthy = {name: float(status.healthy) for name, status in tasks.items()}
        yield _gauge("grounds_background_task_healthy", "1 if the task works.", "task", healthy)
        failures = CounterMetricFamily("grounds_background_task_failures", "Failed iterations.", labels=("task",))
        for name, status in tasks.items():
            failures.add_metric((name,), status.failures)
        yield failures

    def _models(self) -> Iterator[Metric]:
        """Yield the active bundle of each family and market, and the policy in force."""
        bundles = GaugeMetricFamily(
            "grounds_active_bundle_info", "The bundle that serves a market.", labels=("family", "market", "bundle")
        )
        serving = self.parts.models().serving
        for (family, market), model in serving.items():
            bundles.add_metric((family, market, model.bundle.bundle_id), 1)
        yield bundles
        policies = GaugeMetricFamily(
            "grounds_active_policy_info", "The policy in force.", labels=("market", "version", "sha256")
        )
        if (policy := self.parts.policy()) is not None:
            for market in sorted({market for _, market in serving}):
                policies.add_metric((market, *policy), 1)
        yield policies

    def _certificates(self) -> Iterator[Metric]:
        """Yield when each certificate expires; NaN if a file cannot be read."""
        ends = {name: certificate_end(path) for name, path in self.parts.certificates.items()}
        yield _gauge("grounds_certificate_expiry_timestamp_seconds", "End of validity.", "certificate", ends)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Return a gauge with one label."""
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value_of_label, value in values.items():
        family.add_metric((value_of_label,), value)
    return family


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """Return a counter without labels."""
    return CounterMetricFamily(name, text, value=value)


def _number(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge without labels, which has no sample if the value is None."""
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric((), value)
    return family
