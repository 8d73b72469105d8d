"""The application: start, health, reflection, drain and stop."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from server.application import Application
from server.config import Settings
from server.edges.limits import CallClass
from server.errors import PortInUse, StoreUnavailable
from tests.conftest import Serving
from tests.server.requests import call_error, score_request
from tests.server.servers import block_store_threads, release_unstarted, serve, wait_for_calls

OURS = [
    "grounds.audit.v1.AuditService",
    "grounds.churn.v1.ChurnService",
    "grounds.credit.v1.CreditService",
    "grounds.model.v1.ModelService",
]
REFLECTION = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def ask_reflection(
    channel: grpc.aio.Channel, service: str = REFLECTION[0], **question: Any
) -> reflection_pb2.ServerReflectionResponse:
    """Return the answer of one version of the reflection service to one question."""
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers = [answer async for answer in call(iter([reflection_pb2.ServerReflectionRequest(**question)]))]
    return answers[0]


async def test_a_second_server_on_the_same_port_is_rejected(serving: Serving) -> None:
    second = Application(serving.settings.model_copy(update={"port": serving.application.port}))

    with pytest.raises(PortInUse, match=rf"127\.0\.0\.1:{serving.application.port}: .*another port"):
        await second.start()

    release_unstarted(second)
    assert (await serving.credit.ScoreCredit(score_request())).credit_decision.decision


async def test_every_service_has_a_health_status(serving: Serving) -> None:
    stub = health_pb2_grpc.HealthStub(serving.channel)
    for service in ("", *OURS):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

        assert answer.status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="grounds.weather.v1.WeatherService"))

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_watcher_of_the_health_sees_that_the_server_stops(small_settings: Settings) -> None:
    async with serve(small_settings.model_copy(update={"drain_seconds_max": 1})) as serving:
        watch = health_pb2_grpc.HealthStub(serving.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        first = (await watch.read()).status
        stopping = asyncio.create_task(serving.application.stop())
        second = (await watch.read()).status
        watch.cancel()
        await stopping

    assert [first, second] == [SERVING, NOT_SERVING]


@pytest.mark.parametrize("version", REFLECTION)
async def test_reflection_lists_every_service(serving: Serving, version: str) -> None:
    answer = await ask_reflection(serving.channel, version, list_services="")

    services = sorted(service.name for service in answer.list_services_response.service)
    assert services == [*OURS, "grpc.health.v1.Health", *REFLECTION]


@pytest.mark.parametrize("symbol", [*OURS, *REFLECTION])
async def test_reflection_has_the_descriptor_of_every_service(serving: Serving, symbol: str) -> None:
    answer = await ask_reflection(serving.channel, file_containing_symbol=symbol)

    files = map(descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    assert symbol in {f"{file.package}.{service.name}" for file in files for service in file.service}


async def test_reflection_can_be_turned_off(small_settings: Settings) -> None:
    async with serve(small_settings.model_copy(update={"reflection": False})) as serving:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_reflection(serving.channel, list_services="")

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_new_database_is_readable_for_its_owner_alone(serving: Serving) -> None:
    await serving.credit.ScoreCredit(score_request())
    file = Path(serving.settings.database.removeprefix("sqlite:///"))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.glob(f"{file.name}*")}

    assert set(modes.values()) == {0o600}, modes


async def test_a_database_that_cannot_be_opened_stops_the_start(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    application = Application(small_settings.model_copy(update={"database": f"sqlite:///{tmp_path / 'folder.db'}"}))

    with pytest.raises(StoreUnavailable, match="cannot be opened: check its folder"):
        await application.start()

    release_unstarted(application)


async def test_a_file_that_is_no_database_stops_the_start(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "garbage.db").write_bytes(b"this is no database " * 500)
    application = Application(small_settings.model_copy(update={"database": f"sqlite:///{tmp_path / 'garbage.db'}"}))

    try:
        with pytest.raises(StoreUnavailable, match="is not a database"):
            await application.start()
    finally:
        release_unstarted(application)


async def test_a_call_beyond_the_limit_is_rejected_at_once_and_the_others_are_answered(
    small_settings: Settings,
) -> None:
    async with serve(small_settings.model_copy(update={"requests_in_flight_max": 2, "reload_seconds": 60})) as serving:
        with block_store_threads(serving):
            calls = [asyncio.ensure_future(serving.credit.ScoreCredit(score_request())) for _ in range(2)]
            await wait_for_calls(serving, CallClass.LOAN_DESK, 2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await serving.credit.ScoreCredit(score_request())
        answers = await asyncio.gather(*calls)

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert all(answer.credit_decision.decision for answer in answers)


async def test_calls_in_progress_are_answered_when_the_server_stops(small_settings: Settings) -> None:
    patient = small_settings.model_copy(update={"reload_seconds": 60, "drain_seconds_max": 20})
    async with serve(patient) as serving:
        watch = health_pb2_grpc.HealthStub(serving.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        with block_store_threads(serving):
            calls = [asyncio.ensure_future(serving.credit.ScoreCredit(score_request())) for _ in range(5)]
            await wait_for_calls(serving, CallClass.LOAN_DESK, 5)
            stopping = asyncio.create_task(serving.application.stop())
            assert (await watch.read()).status == NOT_SERVING
            watch.cancel()
        answers = await asyncio.gather(*calls)
        await stopping

    assert all(answer.credit_decision.decision for answer in answers)


async def test_a_call_that_arrives_while_the_server_drains_is_unavailable(serving: Serving) -> None:
    serving.application.interceptor.draining = True

    error = await call_error(serving.credit.ScoreCredit(score_request()))

    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
