"""One simulated run: callers, a server process, and the faults of a plan; and the promises that must hold.

- An answered request has exactly one record in the database, from the moment of its answer.
- Every repetition of a request gets the same answer, byte for byte.
- A call ends within the time that the server promises, and never with an internal error.
- While no record can be written, health is NOT_SERVING; after the last fault it is SERVING again, without a hand.
- The process ends within its limit after SIGTERM.
- A database that lost acknowledged records is never served.
"""

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from grounds.credit.v1 import credit_pb2
from server.config import Settings
from server.errors import OperatorError, ServerError
from server.maintenance.doctor import check_log, read_verifier_key
from server.registry.model_registry import ModelRegistry
from server.stores.database import Database
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.opening import KeyLocations, open_log
from tests.server.record_logs import entry
from tests.server.requests import customer, numbers, score_request
from tests.simulation.in_process_server import CallEnded
from tests.simulation.plan import RUN_SECONDS, SimulatedFault
from tests.simulation.process import ServerProcess, SimulatedApplication, track_tasks
from tests.simulation.virtual_time import VirtualTimeLoop, WaitsForever

ANSWER_SECONDS_MAX = 10.5  # the server promises 10 seconds
DRAIN_SECONDS_MAX = 14.0  # `drain_seconds_max`, and the time to close the stores
DETECTION_SECONDS_MAX = 16.0  # an idle server probes every 5 seconds, and a probe hangs after 10
FILE_SECONDS_MAX = 7.0  # until a deleted or replaced file is noticed
RECOVERY_SECONDS_MAX = 15.0  # from the last fault until health is SERVING
CATCH_UP_SECONDS_MAX = 3 * RUN_SECONDS  # from the last fault until every request is answered
_CALLERS, _REQUESTS = 3, 2
_SCORE = "/grounds.credit.v1.CreditService/ScoreCredit"
_DEADLINE_SECONDS = 30.0
_RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_REPEATED = 3  # requests that are repeated at the end
_RESTART_SECONDS = 1.0
_TRACE_SHOWN = 15  # lines of the trace in the message of a broken promise


class PromiseBroken(AssertionError):
    """A promise of the server does not hold in a simulated run."""


@dataclass(frozen=True, slots=True)
class Template:
    """The files that every run starts with, which no run changes.

    Attributes:
        folder: Folder with the database `grounds.db` with features of customers, and with the keys of its record log.
        settings: Settings of a server with the bundles and the policy of the small family.
        models: The loaded models of these bundles.
        disk_full: Is set while the application log cannot be written.
        application: The application of a process; a test that takes a mend out passes a subclass.
    """

    folder: Path
    settings: Settings
    models: ModelRegistry
    disk_full: threading.Event = field(default_factory=threading.Event)
    application: type[SimulatedApplication] = SimulatedApplication


@dataclass
class Simulation:
    """The state of one run.

    Attributes:
        answers: The answer to each request, by the bytes of the request.
        trace: What happened, with virtual times; the same for every run of a seed.
    """

    template: Template
    seed: int
    faults: tuple[SimulatedFault, ...]
    folder: Path
    answers: dict[bytes, bytes] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - draws times, not secrets
        self._loop = VirtualTimeLoop(self._random)
        track_tasks(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # tasks of a dead process are never awaited
        self._path = self.folder / "grounds.db"
        self._copies: list[Path] = []
        self._process: ServerProcess | None = None
        self._forked = False
        for name in ("grounds.db", "keys.db", "master.key", "signing.key", "signing.mark"):
            if (self.template.folder / name).exists():
                shutil.copy(self.template.folder / name, self.folder)
        anchors = self.folder / "anchors"
        anchors.mkdir()
        self._settings = self.template.settings.model_copy(
            update={
                "database": f"sqlite:///{self._path}",
                "keys": f"sqlite:///{self.folder / 'keys.db'}",
                "master_key": self.folder / "master.key",
                "signing_key": self.folder / "signing.key",
                "anchor_folder": anchors,
                "anchor_seconds": 11.0,
                "reload_seconds": 17.0,
                "drain_seconds_max": 10.0,
            }
        )

    def run(self) -> None:
        """Run the simulation.

        Raises:
            PromiseBroken: A promise does not hold.
        """
        try:
            self._loop.run_until_complete(self._run())
        except WaitsForever as error:
            raise PromiseBroken(f"something waits forever: {error}") from error
        finally:
            self.template.disk_full.clear()
            if self._process is not None:
                self._process.kill()
            self._end_tasks()
            self._loop.close()

    def _end_tasks(self) -> None:
        """Cancel every task, and run the loop until all of them have ended."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with suppress(WaitsForever):
                self._loop.run_until_complete(asyncio.wait(tasks))

    async def _run(self) -> None:
        """Start the server and the callers, inject the faults, and check the end."""
        await self._start()
        self._backup()
        callers = [self._loop.create_task(self._call_repeatedly(number)) for number in range(_CALLERS)]
        failed = asyncio.gather(*callers)
        for fault in self.faults:
            await self._wait_until(fault.at, failed)
            self._note(f"{fault.kind} for {fault.seconds} s")
            await getattr(self, f"_{fault.kind}")(fault)
            self._note(f"{fault.kind} ends")
        await self._check_recovery(failed)
        await self._check_repetitions()
        await self._stop()
        self._check_database()

    # Callers

    async def _call_repeatedly(self, number: int) -> None:
        """Send requests as one caller; repeat each one until it is answered."""
        for count in range(_REQUESTS):
            await asyncio.sleep(self._random.uniform(0, 2 * RUN_SECONDS / _REQUESTS))
            request = score_request(
                request_id=f"00000000-0000-4000-8000-{number:06d}{count:06d}",
                customer=customer("DE", f"C{2 * ((number + count) % 4):05d}"),
                features=numbers(turnover=1000.0 + count),
            ).SerializeToString()
            for _ in range(self._random.choice((1, 1, 2))):
                while not await self._ask(request):  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(self._random.uniform(0.5, 3.0))

    async def _ask(self, request: bytes) -> bool:
        """Send a request once; return whether it was answered. A fifth of the callers hang up early."""
        process, start = self._process, self._loop.time()
        patience = self._random.uniform(0, 2) if self._random.random() < 0.2 else _DEADLINE_SECONDS
        if process is None:
            return False
        try:
            answer = await process.call(_SCORE, request, patience)
        except CallEnded as ended:
            self._note(ended.code.name)
            self._require(ended.code in _RETRIED, f"a call ended with {ended}")
            self._require(self._loop.time() - start <= ANSWER_SECONDS_MAX, "a call was not answered in time")
            return False
        self._note("answer")
        self._require(self._loop.time() - start <= ANSWER_SECONDS_MAX, "a call was not answered in time")
        known = self.answers.get(request)
        self._require(known in {None, answer}, "a repeated request got another answer")
        if known is None:
            self._require(not self._forked, "a database that lost acknowledged records was served")
            self._require(self._count(_request_id(request)) == 1, "an answered request has no record")
            self.answers[request] = answer
        return True

    # The process and the operator

    async def _start(self) -> None:
        """Start a process, as a service manager does: again and again, until it runs."""
        while True:
            process = ServerProcess(
                self._loop, self._random, self._settings, self.template.models, self.template.application
            )
            self._process = process
            if await process.start():
                self._note("started")
                return
            await asyncio.sleep(_RESTART_SECONDS)

    async def _stop(self) -> None:
        """Stop the process with SIGTERM."""
        assert self._process is not None
        seconds = await self._process.stop()
        self._note("stopped")
        self._require(seconds <= DRAIN_SECONDS_MAX, f"the process ended {seconds:.1f} s after SIGTERM")

    def _install(self, copy: Path) -> None:
        """Replace the database file by a copy, while no process runs."""
        for name in ("grounds.db-wal", "grounds.db-shm"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.copy(copy, self._path)

    def _backup(self) -> Path:
        """Return a consistent copy of the database of this moment."""
        target = self.folder / f"copy{len(self._copies)}.db"
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        self._copies.append(target)
        return target

    # Faults; each method returns when the fault has ended

    async def _fail(self, fault: SimulatedFault) -> None:
        """Make steps of the database fail at random."""
        steps = self._current.steps
        steps.fails_until = self._loop.time() + fault.seconds
        await asyncio.sleep(fault.seconds)

    async def _hang(self, fault: SimulatedFault) -> None:
        """Make steps of the database hang, so that health must become NOT_SERVING."""
        process = self._current
        process.steps.hangs_until = self._loop.time() + fault.seconds
        await asyncio.sleep(fault.seconds - 0.01)
        if fault.seconds > DETECTION_SECONDS_MAX:
            self._require(not await process.serves(), "health is SERVING while the database hangs")
        await asyncio.sleep(0.01)

    async def _kill(self, fault: SimulatedFault) -> None:
        """Kill the process at the next steps of its database, or after a second without so many steps."""
        process = self._current
        process.steps.left = fault.number
        await asyncio.wait({process.died}, timeout=1.0)
        process.kill()
        self._note("killed")
        await asyncio.sleep(fault.seconds)
        await self._start()

    async def _terminate(self, fault: SimulatedFault) -> None:
        """Stop the process with SIGTERM, and start it again."""
        await self._stop()
        await asyncio.sleep(fault.seconds)
        await self._start()

    async def _fork(self, fault: SimulatedFault) -> None:
        """Restart the process on a copy of the database that lacks acknowledged records; later restore the newest copy."""
        self._current.kill()
        newest = self._backup()
        lacking = [copy for copy in self._copies if any(self._lacks(copy, request) for request in self.answers)]
        if lacking:
            self._install(lacking[fault.number % len(lacking)])
            self._forked = True
            await self._start()
            await asyncio.sleep(fault.seconds)
            self._require(not await self._current.serves(), "health is SERVING on a database that lost records")
            self._current.kill()
            self._forked = False
            self._install(newest)
        await self._start()

    async def _replace(self, fault: SimulatedFault) -> None:
        """Replace the database file by a copy of the moment while the process runs. Later an operator restores the copy."""
        copy = self._backup()
        shutil.copy(copy, self.folder / "new.db")
        (self.folder / "new.db").replace(self._path)
        await self._restore(copy, fault)

    async def _delete(self, fault: SimulatedFault) -> None:
        """Delete the database file while the process runs. Later an operator restores the newest copy."""
        copy = self._backup()
        self._path.unlink()
        await self._restore(copy, fault)

    async def _restore(self, copy: Path, fault: SimulatedFault) -> None:
        """Wait until the process has noticed that its file is gone; then stop it, restore the file, and start it."""
        await asyncio.sleep(fault.seconds)
        if fault.seconds > FILE_SECONDS_MAX:
            self._require(not await self._current.serves(), "health is SERVING without the database file")
        await self._stop()
        self._install(copy)
        await self._start()

    async def _task(self, fault: SimulatedFault) -> None:
        """End a background task unexpectedly."""
        self._current.end_task(fault.number)

    async def _other_server(self, fault: SimulatedFault) -> None:
        """Append records as another server on this database does."""
        while any(self._current.steps.is_locked(str(path)) for path in (self._path, self.folder / "keys.db")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the real lock would be waited for in real time
        database = Database(self._settings.database)
        with suppress(ServerError, OperatorError):
            log = open_log(database, KeyLocations.from_settings(self._settings))
            for _ in range(fault.number % 4 + 1):
                log.append([entry()])
            log.close()
        database.close()

    async def _log(self, fault: SimulatedFault) -> None:
        """Make every write of the application log fail."""
        self.template.disk_full.set()
        await asyncio.sleep(fault.seconds)
        self.template.disk_full.clear()

    # Checks

    async def _check_recovery(self, callers: "asyncio.Future[list[None]]") -> None:
        """Check that health becomes SERVING and that every caller is answered, although nobody does anything."""
        start = self._loop.time()
        while not await self._current.serves():
            self._require(
                self._loop.time() - start < RECOVERY_SECONDS_MAX, "health is not SERVING after the last fault"
            )
            await asyncio.sleep(0.1)
        self._note("serves")
        done, _ = await asyncio.wait({callers}, timeout=CATCH_UP_SECONDS_MAX)
        self._require(bool(done), "a caller was not answered after the last fault")
        callers.result()

    async def _check_repetitions(self) -> None:
        """Repeat a few requests: each gets its first answer."""
        for request in self._random.sample(list(self.answers), _REPEATED):
            answer = self.answers[request]
            again = await self._current.call(_SCORE, request, _DEADLINE_SECONDS)
            self._require(again == answer, "a repeated request got another answer")

    def _check_database(self) -> None:
        """Check that every answered request has exactly one record, and that the whole record log verifies."""
        for request in self.answers:
            self._require(self._count(_request_id(request)) == 1, "an answered request lost its record or has several")
        database = Database(self._settings.database)
        verifier = read_verifier_key(self._settings)
        mark = HighWaterMark(self.folder / "signing.mark")
        valid, sentences = check_log(database, verifier, self._settings.anchor_folder, mark)
        database.close()
        mark.close()
        self._require(valid, f"the record log does not verify: {sentences}")

    @property
    def _current(self) -> ServerProcess:
        """Return the process of this moment."""
        assert self._process is not None
        return self._process

    async def _wait_until(self, time: float, callers: "asyncio.Future[list[None]]") -> None:
        """Wait until a virtual time; raise what a caller raised."""
        seconds = max(0.0, time - self._loop.time())
        await asyncio.sleep(seconds)
        if callers.done():
            callers.result()

    def _count(self, request_id: str, path: Path | None = None) -> int:
        """Return the number of records of a request in the database file, read with the plain driver."""
        path = path or self._path
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            query = "SELECT count(*) FROM records WHERE request_id = ?"
            return int(connection.execute(query, (request_id,)).fetchone()[0])

    def _lacks(self, copy: Path, request: bytes) -> bool:
        """Return whether a copy of the database lacks the record of a request."""
        return self._count(_request_id(request), copy) == 0

    def _note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self._loop.time():10.6f} {text}")

    def _require(self, holds: bool, promise: str) -> None:  # noqa: FBT001 - a condition
        """Raise PromiseBroken unless a promise holds."""
        if not holds:
            raise PromiseBroken("\n".join([*self.trace[-_TRACE_SHOWN:], f"{promise} (at {self._loop.time():.3f} s)"]))


def _request_id(request: bytes) -> str:
    """Return the request_id in the bytes of a request."""
    return credit_pb2.ScoreCreditRequest.FromString(request).request_id


@contextmanager
def run_folder() -> Iterator[Path]:
    """Create a folder for one run, in memory if the system has such a folder, and delete it afterwards."""
    memory = Path("/dev/shm")  # noqa: S108 - the files exist for the time of one run
    folder = Path(tempfile.mkdtemp(prefix="grounds-simulation-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def simulate(template: Template, seed: int, faults: tuple[SimulatedFault, ...]) -> list[str]:
    """Run one simulation, and return its trace.

    Raises:
        PromiseBroken: A promise does not hold.
    """
    with run_folder() as folder:
        simulation = Simulation(template, seed, faults, folder)
        simulation.run()
        return simulation.trace


def broken_promise(template: Template, seed: int, faults: tuple[SimulatedFault, ...]) -> str:
    """Run one simulation; return which promise is broken, "" if none is."""
    try:
        simulate(template, seed, faults)
    except PromiseBroken as error:
        return str(error)
    return ""


def shrink(template: Template, seed: int, faults: tuple[SimulatedFault, ...]) -> tuple[SimulatedFault, ...]:
    """Return the faults without those that a broken promise does not need: leaving out one more keeps every promise."""
    for position in range(len(faults)):
        fewer = faults[:position] + faults[position + 1 :]
        if fewer and broken_promise(template, seed, fewer):
            return shrink(template, seed, fewer)
    return faults
