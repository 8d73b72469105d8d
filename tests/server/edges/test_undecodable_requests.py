"""Undecodable and oversized requests and unknown methods: each is rejected with a code and one ErrorInfo."""

from typing import Any

import grpc
import pytest

from grounds.credit.v1 import credit_pb2
from server.edges.transport import TRANSPORT_LIMIT_FACTOR
from tests.conftest import Serving
from tests.server.requests import call_error, numbers, raw_method, score_request

GARBAGE = b"\xff\xff\xff\xff"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def sized_request(size: int) -> credit_pb2.ScoreCreditRequest:
    """Return a request of approximately `size` bytes."""
    return score_request(features=numbers(**{f"feature_{index}_{'x' * 984}": 1.0 for index in range(size // 1024)}))


async def read_first(call: Any) -> Any:
    """Return the first answer of a stream."""
    async for answer in call:
        return answer
    return None


async def test_undecodable_bytes_are_rejected_with_a_reason(serving: Serving) -> None:
    refused = await call_error(raw_method(serving.channel, "ScoreCredit")(GARBAGE))

    assert (refused.code, refused.reason) == (INVALID, "REQUEST_UNREADABLE")
    assert refused.metadata == {"method": "/grounds.credit.v1.CreditService/ScoreCredit"}
    assert "Unexpected" not in refused.everything


async def test_text_that_is_not_utf_8_is_rejected_with_a_reason(serving: Serving) -> None:
    refused = await call_error(raw_method(serving.channel, "GetCreditDecision")(b"\x0a\x02\xc3\x28"))

    assert (refused.code, refused.reason) == (INVALID, "REQUEST_UNREADABLE")


async def test_a_streaming_method_rejects_undecodable_bytes(serving: Serving) -> None:
    export = serving.channel.unary_stream("/grounds.churn.v1.ChurnService/ExportChurnRisks")

    refused = await call_error(read_first(export(GARBAGE)))

    assert (refused.code, refused.reason) == (INVALID, "REQUEST_UNREADABLE")


@pytest.mark.parametrize("method", ["Check", "Watch"])
async def test_the_health_service_rejects_undecodable_bytes(serving: Serving, method: str) -> None:
    unary = method == "Check"
    call = (serving.channel.unary_unary if unary else serving.channel.unary_stream)(HEALTH + method)(GARBAGE)

    refused = await call_error(call if unary else read_first(call))

    assert (refused.code, refused.reason) == (INVALID, "REQUEST_UNREADABLE")


async def test_the_reflection_service_rejects_undecodable_bytes(serving: Serving) -> None:
    refused = await call_error(read_first(serving.channel.stream_stream(REFLECTION)(iter([GARBAGE]))))

    assert (refused.code, refused.reason) == (INVALID, "REQUEST_UNREADABLE")


async def test_an_oversized_request_is_rejected_with_the_limit(serving: Serving) -> None:
    limit = serving.settings.request_bytes_max
    request = sized_request(2 * limit)

    refused = await call_error(serving.credit.ScoreCredit(request))

    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")
    assert refused.metadata == {"bytes": str(request.ByteSize()), "bytes_max": str(limit)}


async def test_a_request_beyond_the_transport_limit_is_rejected_by_grpc(serving: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.credit.ScoreCredit(
            sized_request((TRANSPORT_LIMIT_FACTOR + 1) * serving.settings.request_bytes_max)
        )

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "method", ["/grounds.credit.v1.CreditService/ScoreDebit", "/acme.v1.Weather/GetRain", "/grounds"], ids=str
)
async def test_an_unknown_method_is_rejected_with_a_reason(serving: Serving, method: str) -> None:
    refused = await call_error(serving.channel.unary_unary(method)(b""))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    assert refused.metadata == {"method": method}


async def test_a_stream_to_an_unknown_method_is_rejected_before_anything_is_sent(serving: Serving) -> None:
    refused = await call_error(serving.channel.stream_stream("/acme.v1.Weather/Follow")().read())

    assert refused.reason == "METHOD_UNKNOWN"


async def test_a_very_long_method_name_is_truncated(serving: Serving) -> None:
    refused = await call_error(serving.channel.unary_unary("/acme.v1.Weather/" + "x" * 5000)(b""))

    assert refused.reason == "METHOD_UNKNOWN"
    assert len(refused.metadata["method"]) == 200
