"""A background task continues after any failure; health shows the failure, and a repeated failure is logged once."""

import asyncio
import errno
import shutil
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from models.catalog import ACTIVE
from server.application import Application
from server.background import BackgroundTasks
from server.config import Settings
from server.registry.model_registry import ModelRegistry, ServingModels
from server.stores.record_log.anchors import CheckpointAnchor
from server.stores.record_log.entries import AppendResult, LogEntry
from server.stores.record_log.header_index import HeaderIndexer
from server.stores.record_log.log import RecordLog
from tests.conftest import Serving
from tests.server.requests import score_request
from tests.server.servers import serve, swap_model, wait_until
from tests.small import SmallFamily

WORDS = "C00000 owes 77123.5"
NOT_SERVING, SERVING = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING


class PlantedBug:
    """A bug that a test can switch on.

    Attributes:
        met: Number of times that the bug was reached.
    """

    def __init__(self) -> None:
        self.on, self.met = False, 0

    def step(self) -> None:
        """Raise an error with customer data in its message while the bug is switched on."""
        if self.on:
            self.met += 1
            raise KeyError(WORDS)


class FragileModelRegistry(ModelRegistry):
    """A model registry with a bug."""

    bug: PlantedBug

    def refresh(self) -> ServingModels:
        """Refresh the models, or fail if the bug is switched on."""
        self.bug.step()
        return super().refresh()


class FragileAnchor(CheckpointAnchor):
    """An anchor with a bug."""

    bug: PlantedBug

    def push(self, seconds: float = 30) -> bool:
        """Push the checkpoint, or fail if the bug is switched on."""
        self.bug.step()
        return super().push(seconds)


class FragileIndexer(HeaderIndexer):
    """A header indexer with a bug."""

    bug: PlantedBug

    async def build_missing_chunks(self) -> None:
        """Build the missing chunks, or fail if the bug is switched on."""
        self.bug.step()
        await super().build_missing_chunks()


class FragileLog(RecordLog):
    """A record log whose appends a test can make hang, and whose probe has a bug."""

    bug: PlantedBug
    free: threading.Event

    def append(self, entries: Sequence[LogEntry]) -> list[AppendResult]:
        """Append the entries; first wait as long as the test makes the log hang, as a slow disk would."""
        self.free.wait(10)
        return super().append(entries)

    def probe(self) -> None:
        """Probe the log, or fail if the bug is switched on."""
        self.bug.step()
        super().probe()


class FragileApplication(Application):
    """A server with bugs in all background tasks."""

    idle_probe_seconds = header_chunk_seconds = 0.05

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.free = threading.Event()
        self.free.set()
        self.look, self.push, self.make, self.probe = PlantedBug(), PlantedBug(), PlantedBug(), PlantedBug()
        self.models = FragileModelRegistry(settings.bundles)
        self.models.bug = self.look
        self.anchors = FragileAnchor(self.database, None, None)
        self.anchors.bug = self.push
        self.chunker = FragileIndexer(self.database)
        self.chunker.bug = self.make

    def _open_log(self) -> RecordLog:
        """Open the record log that has a bug."""
        whole = super()._open_log()
        log = FragileLog(whole.database, whole.key_store, whole._signing, whole.tags_key, whole.high_water_mark)
        log.bug, log.free = self.probe, self.free
        return log


@asynccontextmanager
async def serve_fragile(settings: Settings) -> AsyncIterator[tuple[FragileApplication, Serving]]:
    """Serve with bugs that are switched off at first; check at the end that the server stops in time."""
    application = FragileApplication(settings.model_copy(update={"anchor_seconds": 0.05}))
    await application.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
            yield application, Serving(application, application.settings, channel)
    finally:
        async with asyncio.timeout(10):
            await application.stop()


async def task_is(serving: Serving, task: str, status: int) -> bool:
    """Return whether a background task has a health status."""
    health = health_pb2_grpc.HealthStub(serving.channel)
    return (await health.Check(health_pb2.HealthCheckRequest(service=f"background.{task}"))).status == status


@pytest.mark.parametrize("name", ["look", "push", "make"])
async def test_a_task_that_raises_is_logged_once_without_its_message_and_repeated(
    small_settings: Settings, other: SmallFamily, name: str
) -> None:
    task = {"look": "catalog", "push": "anchor", "make": "header_chunks"}[name]
    async with serve_fragile(small_settings) as (application, serving):
        bug: PlantedBug = getattr(application, name)
        with capture_logs() as lines:
            bug.on = True
            await wait_until(lambda: asyncio.sleep(0, bug.met >= 3))
            await wait_until(lambda: task_is(serving, task, NOT_SERVING))
            bug.on = False
            await wait_until(lambda: task_is(serving, task, SERVING))
            assert application.background.statuses[task].failures >= 3
            await swap_model(serving, other.bundle_folder)
            await serving.credit.ScoreCredit(score_request())
            await wait_until(lambda: asyncio.sleep(0, application.anchors._pushed >= 1))

    failed = [line for line in lines if line["event"] == "background task failed"]
    assert [(line["task"], line["error"]) for line in failed] == [(task, "KeyError")]
    assert failed[0]["location"][-1].endswith("step")
    assert WORDS not in str(lines)


async def test_a_probe_that_raises_leaves_the_recorder_running_and_health_not_serving(
    small_settings: Settings,
) -> None:
    async with serve_fragile(small_settings) as (application, serving):
        health = health_pb2_grpc.HealthStub(serving.channel)

        async def has_status(status: int) -> bool:
            return (await health.Check(health_pb2.HealthCheckRequest())).status == status

        application.probe.on = True
        await wait_until(lambda: has_status(NOT_SERVING))
        answer = await serving.credit.ScoreCredit(score_request())
        await wait_until(lambda: asyncio.sleep(0, application.probe.met >= 2))
        application.probe.on = False
        await wait_until(lambda: has_status(SERVING))

    assert answer.credit_decision.record_ref.decision_id


async def test_while_a_write_hangs_health_is_not_serving(small_settings: Settings) -> None:
    async with serve_fragile(small_settings) as (application, serving):
        health = health_pb2_grpc.HealthStub(serving.channel)

        async def has_status(status: int) -> bool:
            return (await health.Check(health_pb2.HealthCheckRequest())).status == status

        assert application.recorder is not None
        application.recorder.hang_seconds = 0.3
        application.free.clear()
        call = asyncio.ensure_future(serving.credit.ScoreCredit(score_request()))
        await wait_until(lambda: has_status(NOT_SERVING))
        assert not call.done()
        application.free.set()
        answer = await call
        await wait_until(lambda: has_status(SERVING))

    assert answer.credit_decision.record_ref.decision_id


async def test_a_server_whose_every_task_is_failing_still_drains(small_settings: Settings) -> None:
    async with serve_fragile(small_settings) as (application, serving):
        bugs = (application.look, application.push, application.probe)
        for bug in bugs:
            bug.on = True
        await wait_until(lambda: asyncio.sleep(0, all(bug.met for bug in bugs)))
        answer = await serving.credit.ScoreCredit(score_request())

    assert answer.credit_decision.record_ref.decision_id


def test_an_activation_that_stays_invalid_is_logged_once(small_settings: Settings) -> None:
    active = small_settings.bundles / "credit" / ACTIVE
    looks = ModelRegistry(small_settings.bundles)
    looks.refresh()
    whole = shutil.copy(active, active.with_suffix(".whole"))
    with capture_logs() as lines:
        for text in ("[", "[", "FR = = ", "FR = = "):
            active.write_text(text)
            looks.refresh()
        shutil.copy(whole, active)
        looks.refresh()
        active.write_text("FR = = ")
        looks.refresh()

    refused = [line["problem"] for line in lines if line["event"] == "activation refused"]
    assert len(refused) == 3
    assert refused[0] != refused[1] == refused[2]


async def test_an_anchor_folder_that_disappears_is_visible_in_health_until_it_is_back(
    small_settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "anchors"
    async with serve(small_settings.model_copy(update={"anchor_folder": folder, "anchor_seconds": 0.05})) as serving:
        await serving.credit.ScoreCredit(score_request())
        await wait_until(lambda: task_is(serving, "anchor", NOT_SERVING))
        folder.mkdir()
        await wait_until(lambda: task_is(serving, "anchor", SERVING))

    assert [path.name for path in folder.iterdir()] == ["checkpoint-00000000000000000004.txt"]


async def test_a_policy_file_that_cannot_be_read_for_a_while_is_checked_again(small_settings: Settings) -> None:
    """The policy in force stays, and the log reports first the unreadable file and then the incomplete one."""
    content = small_settings.policy.read_bytes()
    own = small_settings.bundles.parent / "own-policy.toml"
    own.write_bytes(content)

    def problems(lines: Sequence[Mapping[str, Any]]) -> list[str]:
        return [str(line["problem"]) for line in lines if line["event"] == "policy refused"]

    with capture_logs() as lines:
        async with serve(small_settings.model_copy(update={"policy": own})) as serving:
            own.unlink()
            own.symlink_to(own)  # a loop
            await wait_until(lambda: asyncio.sleep(0, bool(problems(lines))))
            answer = await serving.credit.ScoreCredit(score_request())
            own.unlink()
            own.write_bytes(content + b"\n# changed\n")
            await wait_until(lambda: asyncio.sleep(0, len(problems(lines)) > 1))

    assert answer.credit_decision.record_ref.decision_id
    assert "the last line must be" in problems(lines)[-1]


async def test_a_standby_worker_that_was_killed_is_replaced(small_settings: Settings) -> None:
    class Hurried(Application):
        standby_delay_seconds = 0.05
        standby_seconds = 0.05

    application = Hurried(small_settings)
    await application.start()
    try:
        await wait_until(lambda: asyncio.sleep(0, application.samples.standby is not None))
        first = application.samples.standby
        assert first is not None
        first.kill()
        await wait_until(lambda: asyncio.sleep(0, application.samples.standby not in {None, first}))
    finally:
        await application.stop()


async def test_a_task_that_ends_unexpectedly_is_started_again() -> None:
    runs, tasks = [], BackgroundTasks()

    async def work() -> None:
        runs.append(1)

    with capture_logs() as lines:
        tasks.repeat("work", work, seconds=0.01)
        await wait_until(lambda: asyncio.sleep(0, len(runs) >= 2))
        (running,) = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
        running.cancel()  # from outside, without `stop`
        await asyncio.wait([running])
        before = len(runs)
        await wait_until(lambda: asyncio.sleep(0, len(runs) >= before + 2))
        await tasks.stop()

    assert [line["task"] for line in lines if line["event"] == "background task failed"] == ["work"]
    assert tasks.statuses["work"].failures == 1
    assert tasks.statuses["work"].healthy


async def test_a_log_that_fails_does_not_end_a_task() -> None:
    class FullDisk:
        def error(self, *_values: object, **_more: object) -> None:
            raise OSError(errno.ENOSPC, "no space left on device")

    runs, tasks = [], BackgroundTasks()

    async def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise KeyError(WORDS)

    structlog.configure(logger_factory=FullDisk, processors=[])
    try:
        tasks.repeat("work", work, seconds=0.01)
        await wait_until(lambda: asyncio.sleep(0, len(runs) >= 5))
    finally:
        structlog.reset_defaults()
        await tasks.stop()

    assert tasks.statuses["work"].failures == 2


async def test_the_pause_grows_while_a_task_keeps_failing() -> None:
    times, tasks = [], BackgroundTasks()

    async def work() -> None:
        times.append(asyncio.get_running_loop().time())
        raise KeyError(WORDS)

    tasks.repeat("work", work, seconds=0.01)
    await wait_until(lambda: asyncio.sleep(0, len(times) >= 4))
    await tasks.stop()

    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=False)] == [True] * 3


async def test_an_iteration_that_hangs_is_logged_and_visible() -> None:
    free, tasks = asyncio.Event(), BackgroundTasks()
    with capture_logs() as lines:
        tasks.repeat("work", free.wait, seconds=0.01)
        await wait_until(lambda: asyncio.sleep(0, tasks.statuses["work"].started_at is not None))
        started_at = tasks.statuses["work"].started_at
        assert started_at is not None
        tasks.statuses["work"].started_at = started_at - 61  # as if a minute had passed
        await tasks.check_stalled()
        await tasks.check_stalled()
        hung = tasks.statuses["work"].healthy
        free.set()
        await wait_until(lambda: asyncio.sleep(0, tasks.statuses["work"].iterations >= 1))
        await tasks.stop()

    assert not hung
    assert tasks.statuses["work"].healthy
    assert [line["event"] for line in lines] == ["background task hangs"]
