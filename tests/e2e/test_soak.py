"""A server under load serves again after every fault, without a hand, and the record verifies.

`SOAK_SECONDS` sets the duration for each database; `SOAK_SECONDS=3600 make test-long T=tests/e2e/test_soak.py` soaks for an hour.
"""

import asyncio
import datetime as dt
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from models.catalog import ACTIVE
from server.application import Application
from server.application_log import configure_logging
from server.config import Settings, read_settings
from server.maintenance.doctor import read_verifier_key
from server.stores.clock import Clock, utc_now
from tests.e2e.forked_servers import ForkedServer
from tests.e2e.load import Load, check_answers, check_records, file_path
from tests.e2e.test_process import free_port
from tests.server.servers import flip_a_byte

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
RECOVERY_SECONDS_MAX = 30.0  # from the end of a fault until health is SERVING
MEMORY_GROWTH_MAX = 100 * 1024 * 1024  # bytes between the first minute and the end
HANG_SECONDS = 13.0  # a database hangs if it has not answered for 10 seconds; an idle server writes every 2 seconds
FULL_AT_BYTES = 1024  # a file that is written beyond this length meets a full disk
OFFSET = "clock-offset"  # file with the seconds that the server's clock is ahead


@dataclass
class SoakedServer:
    """A server that is soaked, with what its faults need.

    Attributes:
        server: The server.
        settings: Its settings.
        postgres: The PostgreSQL of its database; None for SQLite.
        reads_log: Is set while somebody reads the application log.
    """

    server: ForkedServer
    settings: Settings
    postgres: sqlalchemy.Engine | None
    reads_log: threading.Event = field(default_factory=threading.Event)

    @property
    def pid(self) -> int:
        """Return the process id of the server."""
        assert self.server.process.pid is not None
        return self.server.process.pid

    @property
    def database(self) -> Path:
        """Return the path of the SQLite database."""
        return Path(self.settings.database.removeprefix("sqlite:///"))

    @property
    def active(self) -> Path:
        """Return the path of the file that states which bundle serves which market."""
        return self.settings.bundles / "credit" / ACTIVE


Mend = Callable[[], None]


def stop_reading_the_log(soaked: SoakedServer) -> Mend:
    """Stop reading the pipe of the application log, so that it fills."""
    soaked.reads_log.clear()
    return soaked.reads_log.set


def fill_the_disk(soaked: SoakedServer) -> Mend:
    """Make the operating system refuse every write beyond the first bytes of a file, as a full disk does."""
    _, hard = resource.prlimit(soaked.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(soaked.pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, hard))
    return lambda: resource.prlimit(soaked.pid, resource.RLIMIT_FSIZE, (hard, hard))  # type: ignore[return-value]


def freeze_the_store(soaked: SoakedServer) -> Mend:
    """Stop every process of PostgreSQL, or lock the SQLite database."""
    if soaked.postgres is None:
        connection = sqlite3.connect(soaked.database, isolation_level=None, timeout=10, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        return connection.close
    with soaked.postgres.connect() as reader:
        folder = Path(str(reader.exec_driver_sql("SHOW data_directory").scalar()))
    postmaster = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()

    def resume() -> None:
        for process in processes:
            process.resume()

    return resume


def move_away(path: Path) -> Mend:
    """Rename a file, as if it had been deleted; the mend restores it."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    return lambda: aside.replace(path)  # type: ignore[return-value]


def move_the_database_away(soaked: SoakedServer) -> Mend:
    """Rename the database file (SQLite) or the high-water mark (PostgreSQL)."""
    return move_away(
        soaked.database if soaked.postgres is None else file_path(soaked.settings.signing_key).with_suffix(".mark")
    )


def remove_the_signing_key(soaked: SoakedServer) -> Mend:
    """Remove the file of the signing key, which the server has read at its start."""
    return move_away(file_path(soaked.settings.signing_key))


def remove_the_master_key(soaked: SoakedServer) -> Mend:
    """Remove the file of the master key, which the server has read at its start."""
    return move_away(file_path(soaked.settings.master_key))


def overwrite(path: Path, content: bytes) -> Mend:
    """Write other content into a file, in place; the mend writes the old content."""
    before = path.read_bytes()
    path.write_bytes(content)
    return lambda: path.write_bytes(before)  # type: ignore[return-value]


def empty_the_activation(soaked: SoakedServer) -> Mend:
    """Empty ACTIVE.toml."""
    return overwrite(soaked.active, b"")


def garble_the_activation(soaked: SoakedServer) -> Mend:
    """Write half of ACTIVE.toml."""
    content = soaked.active.read_bytes()
    return overwrite(soaked.active, content[: len(content) // 2])


def halve_the_policy(soaked: SoakedServer) -> Mend:
    """Write half of the policy file, as a slow write does."""
    content = soaked.settings.policy.read_bytes()
    return overwrite(soaked.settings.policy, content[: len(content) // 2])


def break_the_bundle(soaked: SoakedServer) -> Mend:
    """Flip one bit of the file of the active model."""
    path = next((soaked.settings.bundles / "credit").glob("*/score.onnx"))
    before = path.read_bytes()
    flip_a_byte(path)
    return lambda: path.write_bytes(before)  # type: ignore[return-value]


def advance_the_clock(soaked: SoakedServer) -> Mend:
    """Move the server's clock 400 days ahead."""
    return overwrite(file_path(soaked.settings.signing_key).with_name(OFFSET), b"34560000")


def turn_the_clock_back(soaked: SoakedServer) -> Mend:
    """Move the server's clock 400 days back."""
    return overwrite(file_path(soaked.settings.signing_key).with_name(OFFSET), b"-34560000")


def end_the_server(soaked: SoakedServer) -> Mend:
    """Kill the server; a service manager starts it again."""
    soaked.server.kill()
    return soaked.server.start


@dataclass(frozen=True, slots=True)
class SoakFault:
    """One kind of fault.

    Attributes:
        inject: Injects the fault, and returns the function that ends it.
        serves: Whether health must still be SERVING at the end of the fault.
        seconds_max: Largest duration in seconds.
        unnoticed_seconds: Time in seconds within which health may still be SERVING, although `serves` is false.
    """

    inject: Callable[[SoakedServer], Mend]
    serves: bool
    seconds_max: float = 6.0
    unnoticed_seconds: float = 0.0


FAULTS = (
    SoakFault(stop_reading_the_log, serves=True),
    SoakFault(fill_the_disk, serves=False),
    SoakFault(freeze_the_store, serves=False, seconds_max=25.0, unnoticed_seconds=HANG_SECONDS),
    SoakFault(move_the_database_away, serves=False),
    SoakFault(remove_the_signing_key, serves=True),
    SoakFault(remove_the_master_key, serves=True),
    SoakFault(empty_the_activation, serves=True),
    SoakFault(garble_the_activation, serves=True),
    SoakFault(halve_the_policy, serves=True),
    SoakFault(break_the_bundle, serves=True),
    SoakFault(advance_the_clock, serves=False),
    SoakFault(turn_the_clock_back, serves=False),
    SoakFault(end_the_server, serves=False, seconds_max=2.0),
)
# On PostgreSQL only the high-water mark is moved, and the server writes a new one.
SURVIVED = {"move_the_database_away"}


class ShiftedApplication(Application):
    """A server whose clock a file moves."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        offset = file_path(settings.signing_key).with_name(OFFSET)
        self.clock = Clock(lambda: utc_now() + dt.timedelta(seconds=float(offset.read_text() or 0)))


def run_shifted(config: Path, environment: dict[str, str], log: Path) -> None:
    """Serve with a movable clock until SIGTERM."""
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY), sys.stderr.fileno())
    settings = read_settings(config)
    configure_logging()

    async def serve() -> bool:
        application = ShiftedApplication(settings)
        await application.start()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        return await application.stop()

    if not asyncio.run(serve()):
        os._exit(3)


@contextmanager
def reading_log(path: Path, reads: threading.Event) -> Iterator[None]:
    """Read a pipe and forget what was read, while `reads` is set."""
    descriptor = os.open(path, os.O_RDWR)  # also writes, so that it never meets the end of the pipe
    ended = threading.Event()
    os.set_blocking(descriptor, False)

    def read() -> None:
        while not ended.is_set():
            reads.wait(0.2)
            try:
                if not reads.is_set() or not os.read(descriptor, 65536):
                    time.sleep(0.05)
            except BlockingIOError:
                time.sleep(0.05)

    reads.set()
    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(descriptor)


def soak(soaked: SoakedServer, seconds: float, random_: random.Random) -> list[str]:
    """Inject one fault after another; return what was not as expected."""
    problems, deadline, first_memory, count = [], time.monotonic() + seconds, 0, 0
    while time.monotonic() < deadline:
        for fault in random_.sample(FAULTS, len(FAULTS)):
            name, count = fault.inject.__name__, count + 1
            mend = fault.inject(soaked)
            try:
                duration = random_.uniform(4.0, fault.seconds_max) if fault.seconds_max > 4 else fault.seconds_max
                time.sleep(duration)
                expected = fault.serves or (soaked.postgres is not None and name in SURVIVED)
                if soaked.server.serves() != expected and duration > fault.unnoticed_seconds:
                    problems.append(f"{name}: health is {'NOT_SERVING' if expected else 'SERVING'}")
            finally:
                mend()
            start = time.monotonic()
            while not soaked.server.serves():
                if time.monotonic() - start > RECOVERY_SECONDS_MAX:
                    problems.append(f"{name}: health is not SERVING {RECOVERY_SECONDS_MAX:.0f} s after its end")
                    return problems
                time.sleep(0.05)
            time.sleep(random_.uniform(0.5, 2.0))
        memory = psutil.Process(soaked.pid).memory_info().rss
        first_memory = first_memory or memory
    if memory - first_memory > MEMORY_GROWTH_MAX:
        problems.append(f"the memory grew from {first_memory} to {memory} bytes")
    print(f"{count} faults; memory {first_memory >> 20} to {memory >> 20} MB")  # noqa: T201 - the figures of the run
    return problems


@pytest.mark.long
@pytest.mark.timeout(int(SOAK_SECONDS) + 900)
def test_after_the_last_fault_everything_serves_again_and_the_record_verifies(
    config: Path, database_url: str, request: pytest.FixtureRequest
) -> None:
    seed = int(os.environ.get("SOAK_SEED", random.randrange(2**32)))  # noqa: S311 - draws times, not secrets
    settings = read_settings(config)
    policy = Path(shutil.copy(settings.policy, config.with_name("soaked-policy.toml")))
    config.write_text(config.read_text().replace(str(settings.policy), str(policy)))
    settings = read_settings(config)
    file_path(settings.signing_key).with_name(OFFSET).write_text("0")
    server = ForkedServer(config, free_port(), run_shifted)
    os.mkfifo(server.log)
    postgres = request.getfixturevalue("postgres") if database_url.startswith("postgresql") else None
    soaked = SoakedServer(server, settings, postgres)
    load = Load([server.address])
    with reading_log(server.log, soaked.reads_log):
        server.start()
        try:
            server.wait_until_serving()
            verifier = read_verifier_key(settings)
            load.start(seed)
            problems = soak(soaked, SOAK_SECONDS, random.Random(seed))  # noqa: S311 - draws times, not secrets
            assert soaked.server.serves(), (seed, problems)
            load.stop()
            check_answers([server], load, count_max=2000)
            server.stop()
        finally:
            load.end()
            server.process.kill()
    print(f"{len(load.answers)} answers; failed calls: {dict(load.errors)}")  # noqa: T201 - the figures of the run
    check_records(settings, verifier, load)
    assert (problems, sorted(set(load.refused))) == ([], []), seed
