"""Liveness and readiness over HTTP, and the health service's list, for orchestrators."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.application import Application
from server.config import Settings
from server.errors import PortInUse
from server.monitoring.endpoint import MonitoringEndpoint, ProbeSources
from tests.server.monitoring.scrapes import fetch, get, get_json
from tests.server.servers import release_unstarted, serve, wait_until

CREDIT, CHURN = "grounds.credit.v1.CreditService", "grounds.churn.v1.ChurnService"


@pytest.fixture
def watched_settings(small_settings: Settings) -> Settings:
    """Return the settings of a server with an HTTP endpoint on a free port."""
    return small_settings.model_copy(update={"metrics_address": "0"})


async def test_a_database_outage_makes_the_server_unready_but_not_dead(watched_settings: Settings) -> None:
    file = Path(watched_settings.database.removeprefix("sqlite:///"))
    async with serve(watched_settings) as serving:
        application = serving.application

        async def readyz(service: str = "") -> int:
            return (await get_json(application, f"/readyz?service={service}"))[0]

        before = [await readyz(), await readyz(CREDIT)]
        whole = file.rename(file.with_suffix(".whole"))  # noqa: ASYNC240 - immediate
        await wait_until(lambda: _is(readyz(), 503))
        during = [await readyz(CREDIT), (await get_json(application, "/livez"))[0]]
        whole.rename(file)
        await wait_until(lambda: _is(readyz(), 200))

    assert before == [200, 200]
    assert during == [503, 200]


async def _is(status: object, expected: int) -> bool:
    """Return whether an awaitable has a result."""
    return await status == expected


async def test_readiness_states_every_service_and_rejects_an_unknown_one(watched_settings: Settings) -> None:
    async with serve(watched_settings) as serving:
        # The status of the background tasks is reported at the first check after the start.
        await wait_until(lambda: _is(get_status(serving.application, "/readyz?service=background.catalog"), 200))
        status, answer = await get_json(serving.application, "/readyz")
        unknown = await get(serving.application, "/readyz?service=grounds.weather.v1.WeatherService")
        listed = await health_pb2_grpc.HealthStub(serving.channel).List(health_pb2.HealthListRequest())

    assert (status, answer["ok"]) == (200, True)
    assert {"", CREDIT, CHURN, "background.catalog"} <= set(answer["services"]) == set(listed.statuses)
    assert listed.statuses[CREDIT].status == health_pb2.HealthCheckResponse.SERVING
    assert (unknown[0], CREDIT.encode() in unknown[1]) == (404, True)


async def test_a_server_that_drains_is_unready(watched_settings: Settings) -> None:
    async with serve(watched_settings.model_copy(update={"drain_seconds_max": 4})) as serving:
        application = serving.application
        application.interceptor.calls_in_progress += 1  # a call that keeps the server from stopping
        stopping = asyncio.create_task(application.stop())
        await wait_until(lambda: _is(get_status(application, "/readyz"), 503))
        alive = await get_status(application, "/livez")
        application.interceptor.calls_in_progress -= 1
        await stopping
        application.stop = _has_stopped  # type: ignore[method-assign] # the server has stopped already

    assert alive == 200


async def _has_stopped() -> bool:
    """Return true, because the server has stopped."""
    return True


async def get_status(application: Application, path: str) -> int:
    """Return the status of an answer."""
    return (await get(application, path))[0]


async def test_a_server_whose_event_loop_is_blocked_is_not_alive(watched_settings: Settings) -> None:
    async with serve(watched_settings) as serving:
        assert serving.application.endpoint is not None
        address, statuses = serving.application.endpoint.address, list[int]()
        thread = threading.Thread(target=lambda: statuses.append(fetch(address, "/livez")[0]))
        thread.start()
        time.sleep(5.5)  # noqa: ASYNC251 - the fault: the loop answers nothing
        thread.join()
        later = await get_status(serving.application, "/livez")

    assert (statuses, later) == ([503], 200)


async def test_an_address_that_is_in_use_stops_the_start_with_a_sentence(watched_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        application = Application(watched_settings.model_copy(update={"metrics_address": address}))
        with pytest.raises(PortInUse, match=f"metrics_address: cannot listen on {address}"):
            await application.start()
        release_unstarted(application)


def test_a_client_that_sends_nothing_keeps_no_other_client_from_an_answer(tmp_path: Path) -> None:
    """The connections over the limit are closed, and the silent ones end after five seconds."""
    endpoint = MonitoringEndpoint("0", ProbeSources(lambda: True, lambda: {"": True}, lambda: b""))
    host, port = endpoint.address.rsplit(":", 1)
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    deadline = time.monotonic() + 30
    while True:
        try:
            assert fetch(endpoint.address, "/livez")[0] == 200
            break
        except OSError:
            assert time.monotonic() < deadline, "the silent clients still hold every connection"
            time.sleep(0.1)
    for each in silent:
        each.close()
    unix = MonitoringEndpoint(f"unix:{tmp_path / 'metrics.sock'}", ProbeSources(lambda: True, dict, lambda: b""))
    mode = (tmp_path / "metrics.sock").stat().st_mode & 0o777
    unix.close()
    endpoint.close()

    assert mode == 0o600
    assert not (tmp_path / "metrics.sock").exists()
