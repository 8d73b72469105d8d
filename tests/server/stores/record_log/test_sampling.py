"""The standby worker loads its libraries before a sample is requested, draws one sample, and never outlives its server."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from server.application import Application
from server.config import Settings
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.sampling import SampleDrawer, SampleQuery, Strata
from tests.conftest import ROOT
from tests.server.record_logs import entry, open_test_log
from tests.server.servers import wait_until

QUERY = SampleQuery(DecisionQuery(), tree_size=9, keys=("market",), seed="tulip", size=9)
WAIT_SECONDS = 60


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[SampleDrawer]:
    """Yield a drawer on a log of nine decisions, without a standby worker."""
    with open_test_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path) as log:
        log.append([entry(record_id=f"00000000-0000-7000-8000-00000000000{number}") for number in range(9)])
        with closing(SampleDrawer(log.database)) as found:
            yield found


def names_of(drawn: Strata) -> set[str]:
    """Return the last digits of the ids in a sample."""
    ((_, names),) = drawn.values()
    return {name[-1] for name in names}


def test_the_standby_worker_draws_and_another_one_replaces_it(samples: SampleDrawer) -> None:
    samples.start_standby()
    first = samples.standby
    samples.start_standby()
    assert first is not None
    assert samples.standby is first, "one is enough"
    assert psutil.Process(first.pid).nice() == 10, "behind the server"

    assert names_of(samples.draw(QUERY)) == set("012345678")

    assert first.returncode == 0
    assert samples.standby is not first


def test_a_killed_standby_worker_is_replaced(samples: SampleDrawer) -> None:
    samples.start_standby()
    assert samples.standby is not None
    samples.standby.kill()
    samples.standby.wait()

    assert names_of(samples.draw(QUERY)) == set("012345678")


def test_close_ends_the_standby_worker(samples: SampleDrawer) -> None:
    samples.start_standby()
    waiting = samples.standby
    assert waiting is not None

    samples.close()

    assert (waiting.returncode, samples.standby) == (-signal.SIGKILL, None)
    samples.start_standby()
    assert samples.standby is None


class Prepared(Application):
    """A server that starts its standby worker without delay."""

    standby_delay_seconds = 0.0


async def test_a_server_starts_a_standby_worker_and_ends_it_on_stop(small_settings: Settings) -> None:
    application = Prepared(small_settings)

    async def is_ready() -> bool:
        return application.samples.standby is not None

    await application.start()
    try:
        await wait_until(is_ready)
        waiting = application.samples.standby
    finally:
        await application.stop()

    assert waiting is not None
    assert (waiting.poll(), application.samples.standby) == (-signal.SIGKILL, None)


def test_the_standby_worker_ends_when_its_server_is_killed() -> None:
    code = (
        "import time; from server.stores.database import Database; from server.stores.record_log.sampling import SampleDrawer\n"
        "samples = SampleDrawer(Database('sqlite://')); samples.start_standby(); print(samples.standby.pid, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        waiting = psutil.Process(int(server.stdout.readline()))
        server.send_signal(signal.SIGKILL)
        server.wait()
        gone, alive = psutil.wait_procs([waiting], timeout=WAIT_SECONDS)

    assert (len(gone), alive) == (1, [])
