"""The transport limits metadata, pings, compression and the age of connections; the tests use real connections."""

import asyncio

import grpc
import pytest

from server.config import Settings
from server.edges.transport import server_options
from tests.conftest import Serving
from tests.server.http2 import connect
from tests.server.requests import raw_method, score_request
from tests.server.servers import serve, wait_until

ATTEMPTS = 10
CHECK = "/grpc.health.v1.Health/Check"


async def code_with_metadata(channel: grpc.aio.Channel, size: int) -> grpc.StatusCode:
    """Call a method with an additional metadata entry of `size` bytes; return the status."""
    try:
        await channel.unary_unary(CHECK)(b"", metadata=(("x-filler", "x" * size),))
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_metadata_up_to_the_limit_are_accepted_and_larger_ones_rejected_every_time(serving: Serving) -> None:
    limit = serving.settings.metadata_bytes_max
    for size, expected in (
        (limit - 1024, grpc.StatusCode.OK),
        (limit * 3 // 4, grpc.StatusCode.OK),
        (limit * 9 // 16, grpc.StatusCode.OK),
        (limit, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (limit * 3 // 2, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        codes = [await code_with_metadata(serving.channel, size) for _ in range(ATTEMPTS)]

        assert codes == [expected] * ATTEMPTS, size


async def test_pings_as_fast_as_allowed_are_tolerated_and_faster_ones_end_the_connection(
    small_settings: Settings,
) -> None:
    async with serve(small_settings.model_copy(update={"ping_seconds_min": 0.2})) as serving:
        async with connect(serving.application.port) as patient:
            for _ in range(4):
                patient.ping()
                await asyncio.sleep(0.3)
            tolerated = patient.goaway is None and not patient.ended
        async with connect(serving.application.port) as hasty:
            for _ in range(10):
                hasty.ping()
            await wait_until(lambda: asyncio.sleep(0, hasty.ended))

    assert tolerated
    assert hasty.goaway in {b"too_many_pings", None}


@pytest.mark.long
async def test_a_client_that_sends_a_ping_every_ten_seconds_keeps_its_connection(small_settings: Settings) -> None:
    async with serve(small_settings) as serving, connect(serving.application.port) as connection:
        for _ in range(7):
            connection.ping()
            await asyncio.sleep(10)

        assert connection.goaway is None


async def test_a_compressed_request_is_rejected_before_it_is_decompressed(serving: Serving) -> None:
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{serving.application.port}", compression=grpc.Compression.Gzip)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw_method(channel, "ScoreCredit")(bytes(200_000))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_connection_of_the_configured_age_is_renewed_without_a_failed_call(small_settings: Settings) -> None:
    old = {"connection_age_seconds_max": 0.2, "connection_grace_seconds": 5}
    async with serve(small_settings.model_copy(update=old)) as serving:
        async with connect(serving.application.port) as connection:
            await wait_until(lambda: asyncio.sleep(0, connection.goaway is not None))
        answers = []
        for _ in range(10):
            answers.append(await serving.credit.ScoreCredit(score_request()))
            await asyncio.sleep(0.1)

    assert connection.goaway == b"max_age"
    assert all(answer.credit_decision.decision for answer in answers)


def test_connections_are_kept_without_a_configured_age(small_settings: Settings) -> None:
    assert not [name for name, _ in server_options(small_settings) if "connection_age" in name]
