"""A request in which a field occurs twice is rejected, so that the record never has a value that was not used."""

import pytest

from tests.conftest import Serving
from tests.server.requests import call_error, customer, field, numbers, raw_method, score_request
from tests.server.servers import record_count

LARGE = {f"{'x' * 100}{index}": 1.0 for index in range(60)}


def entry(name: str, value: float) -> bytes:
    """Return an encoded entry of the map `features`."""
    return field(4, field(1, name.encode()) + field(2, numbers(x=value)["x"]))


@pytest.mark.parametrize("size", ["small", "large"])
async def test_a_request_with_a_field_or_map_key_twice_is_rejected(serving: Serving, size: str) -> None:
    request = score_request(features=numbers(**LARGE) if size == "large" else {}).SerializeToString()
    for part, expected in (
        (entry("turnover", 77123.5) + entry("turnover", 5), ("features", "REPEATED_KEY")),
        (field(2, customer("FR", "SECRET7")), ("customer", "REPEATED_FIELD")),
        (field(1, b"SECRET7"), ("request_id", "REPEATED_FIELD")),
    ):
        error = await call_error(raw_method(serving.channel, "ScoreCredit")(part + request))

        assert error.reason == "REQUEST_INVALID"
        assert expected in error.kinds.items()
        assert "SECRET7" not in error.everything
        assert "77123" not in error.everything
    assert record_count(serving) == 0


async def test_a_default_value_that_is_encoded_changes_neither_the_digest_nor_the_answer(serving: Serving) -> None:
    request = score_request().SerializeToString()

    first = await raw_method(serving.channel, "ScoreCredit")(request)
    again = await raw_method(serving.channel, "ScoreCredit")(request + field(5, b"") + field(6, b""))

    assert again == first
    assert record_count(serving) == 1
