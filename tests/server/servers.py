"""Functions that start servers, change their files as operators do, and wait for their background tasks."""

import asyncio
import datetime as dt
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
from sqlalchemy import func, select

from grounds.model.v1 import model_pb2
from grounds_record.activations import CHANGE_KINDS
from models.catalog import activate
from server.application import Application
from server.config import Settings
from server.edges.limits import CallClass
from server.edges.thread_pool import StoreThreads
from server.registry.change_origin import ChangeOrigin
from server.registry.policy_activation import activate_policy, plan_activation
from server.stores.catalog.policies import PolicyStore
from server.stores.tables import RECORDS
from tests.conftest import Serving
from tests.small import complete_policy

PATIENCE_SECONDS = 60.0
TEST_OPERATOR = ChangeOrigin("ana")


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Serving]:
    """Start a server with these settings, and stop it at the end of the block."""
    application = Application(settings)
    await application.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
            yield Serving(application, settings, channel)
    finally:
        await application.stop()


def release_unstarted(application: Application) -> None:
    """Close the stores of a server that failed to start."""
    application.threads.close()
    application.batch_threads.close()
    application.readers.close()
    application.housekeepers.close()
    application.replays.close()
    application.graphs.close()
    if application.endpoint is not None:
        application.endpoint.close()
    if application.log is not None:
        application.log.close()
    application.database.close()


def record_count(serving: Serving) -> int:
    """Return the number of records of the log, without the activations that a start and a command append."""
    with serving.application.database.reading() as connection:
        counted = select(func.count()).where(RECORDS.c.kind.not_in(CHANGE_KINDS))
        return connection.execute(counted).scalar_one()


@contextmanager
def block_store_threads(
    serving: Serving, threads: StoreThreads | None = None
) -> Iterator[Callable[[int], Awaitable[None]]]:
    """Block every store thread of a pool during the block; the default pool is the loan desk's.

    Yield a function that waits until a given number of tasks are in the queue of the pool.
    """
    free, pool = threading.Event(), (threads or serving.application.threads)._pool
    assert isinstance(pool, ThreadPoolExecutor)
    for _ in range(pool._max_workers):
        pool.submit(free.wait, PATIENCE_SECONDS)
    try:
        yield lambda count: wait_until(lambda: asyncio.sleep(0, pool._work_queue.qsize() >= count))
    finally:
        free.set()


async def wait_until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Check a condition repeatedly until it is true; fail after a minute."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - no event reports changes of files and counters
            await asyncio.sleep(0.01)


def in_progress(serving: Serving, call_class: CallClass) -> int:
    """Return the number of calls of a class that the server counts as in progress."""
    return serving.application.interceptor._limits._in_progress[call_class]


async def wait_for_calls(serving: Serving, call_class: CallClass, count: int) -> None:
    """Wait until a number of calls of a class are in progress. Calls that read features share one task of the pool."""
    await wait_until(lambda: asyncio.sleep(0, in_progress(serving, call_class) == count))


async def list_models(serving: Serving) -> dict[str, model_pb2.ModelSummary]:
    """Return the server's summaries of the bundles in the catalog, by bundle_id."""
    answer = await serving.models.ListModels(model_pb2.ListModelsRequest())
    return {summary.bundle_id: summary for summary in answer.models}


async def wait_for_state(serving: Serving, bundle_id: str, state: model_pb2.ModelState) -> model_pb2.ModelSummary:
    """Wait until a bundle has a state; return its summary."""

    async def is_in_state() -> bool:
        summary = (await list_models(serving)).get(bundle_id)
        return summary is not None and summary.state == state

    await wait_until(is_in_state)
    return (await list_models(serving))[bundle_id]


def copy_bundle(bundle_folder: Path, bundles: Path) -> Path:
    """Copy a bundle into a catalog without activating the bundle."""
    return shutil.copytree(bundle_folder, bundles / bundle_folder.parent.name / bundle_folder.name)


async def swap_model(serving: Serving, bundle_folder: Path) -> None:
    """Copy a bundle into the catalog, activate it as an operator does, and wait until it serves."""
    copy_bundle(bundle_folder, serving.settings.bundles)
    activate(serving.settings.bundles, bundle_folder.name)
    await wait_for_state(serving, bundle_folder.name, model_pb2.MODEL_STATE_SERVING)


def activate_new_policy(serving: Serving, text: str) -> None:
    """Activate a policy as an operator does, while the server runs."""
    path, log = serving.settings.bundles.parent / "new_policy.toml", serving.application.log
    path.write_text(complete_policy(text))
    assert log is not None
    change = plan_activation(PolicyStore(serving.application.database), str(path), serving.settings.policy)
    assert activate_policy(log, change, "test", dt.datetime.now(dt.UTC), origin=TEST_OPERATOR)


def flip_a_byte(path: Path) -> None:
    """Flip one bit of a file, as a faulty disk could."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
