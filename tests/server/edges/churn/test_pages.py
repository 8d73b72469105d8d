"""The pages of a list contain every customer of one run exactly once and in order, even if a newer run is loaded meanwhile."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from grounds.churn.v1 import churn_pb2 as pb
from server.config import Settings
from server.edges.money import amount_from_money
from server.edges.page_tokens import PageTokens, RiskPageCursor, SyncCursor
from server.stores.clock import utc_now
from tests.conftest import LOAD_TIME, Serving
from tests.server.churn_runs import ChurnFamily
from tests.server.loading import load_file
from tests.server.requests import CallError, call_error
from tests.server.servers import serve

PROBABILITY, VALUE = pb.CHURN_RISK_ORDER_PROBABILITY, pb.CHURN_RISK_ORDER_VALUE_AT_RISK
ALL = 1010


@pytest.fixture
def small_settings(churn_settings: Settings) -> Settings:
    """Return settings with a loaded scoring run."""
    return churn_settings


def request(**changes: Any) -> pb.ListChurnRisksRequest:
    """Return a request for a page."""
    return pb.ListChurnRisksRequest(**{"market": "DE", "page_size": 100, **changes})


async def pages(serving: Serving, **fields: Any) -> AsyncIterator[pb.ListChurnRisksResponse]:
    """Read all pages."""
    token = ""
    while True:
        page = await serving.churn.ListChurnRisks(request(page_token=token, **fields))
        yield page
        token = page.next_page_token
        if not token:
            return


async def read_second_page_token(serving: Serving, **fields: Any) -> str:
    """Return the token of a second page."""
    return (await serving.churn.ListChurnRisks(request(**fields))).next_page_token


async def page_error(serving: Serving, **fields: Any) -> CallError:
    """Return the error of a page that is rejected."""
    return await call_error(serving.churn.ListChurnRisks(request(**fields)))


@pytest.mark.parametrize("order", [PROBABILITY, VALUE], ids=["probability", "value"])
async def test_pages_contain_every_customer_once_and_in_order_even_with_ties(
    serving: Serving, order: pb.ChurnRiskOrder
) -> None:
    read = [page async for page in pages(serving, order=order, page_size=23)]

    risks = [risk for page in read for risk in page.churn_risks]
    ids = [risk.customer.customer_id for risk in risks]
    assert len(ids) == len(set(ids)) == ALL
    assert {page.total_size for page in read} == {ALL}
    assert {len(page.churn_risks) for page in read[:-1]} == {23}
    by = {PROBABILITY: lambda risk: risk.churn_probability, VALUE: lambda risk: amount_from_money(risk.value_at_risk)}[
        order
    ]
    keys = [(-by(risk), risk.customer.customer_id) for risk in risks]
    assert keys == sorted(keys)
    assert len({key[0] for key in keys}) < ALL
    assert not any(risk.HasField("explanation") for risk in risks)


async def test_the_rank_is_the_position_in_the_list_by_probability(serving: Serving) -> None:
    for order in (pb.CHURN_RISK_ORDER_UNSPECIFIED, PROBABILITY):
        ranks = [risk.rank async for page in pages(serving, order=order) for risk in page.churn_risks]

        assert ranks == list(range(1, ALL + 1))


@pytest.mark.parametrize("order", [PROBABILITY, VALUE], ids=["probability", "value"])
async def test_a_list_reads_one_run_while_a_newer_run_is_loaded(
    serving: Serving, churn_family: ChurnFamily, order: pb.ChurnRiskOrder
) -> None:
    undisturbed = [risk async for page in pages(serving, order=order) for risk in page.churn_risks]
    disturbed, first_runs = [], set()
    async for page in pages(serving, order=order):
        disturbed.extend(page.churn_risks)
        if len(disturbed) == 300:
            load_file(serving.application.database, churn_family.second_run, LOAD_TIME)
            again = await serving.churn.ListChurnRisks(request(order=order))
            first_runs.update(risk.run_id for risk in again.churn_risks)

    assert disturbed == undisturbed
    assert len(first_runs) == 1
    assert undisturbed[0].run_id not in first_runs


async def test_a_list_continues_after_a_restart(small_settings: Settings) -> None:
    async with serve(small_settings) as serving:
        token = await read_second_page_token(serving)
    async with serve(small_settings) as serving:
        page = await serving.churn.ListChurnRisks(request(page_token=token))

    assert page.churn_risks[0].rank == 101


async def test_a_page_has_the_requested_size_and_at_most_1000_entries(serving: Serving) -> None:
    for page_size, given in ((0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)):
        page = await serving.churn.ListChurnRisks(request(page_size=page_size))

        assert len(page.churn_risks) == given
        assert page.next_page_token


async def test_a_full_last_page_has_no_next_page_token(serving: Serving) -> None:
    sizes = [len(page.churn_risks) async for page in pages(serving, page_size=505)]

    assert sizes == [505, 505]


async def test_a_negative_page_size_is_rejected(serving: Serving) -> None:
    error = await page_error(serving, page_size=-1)

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert list(error.problems) == ["page_size"]
    assert "0" in error.problems["page_size"]


async def test_the_page_size_may_change_from_page_to_page(serving: Serving) -> None:
    token = await read_second_page_token(serving, page_size=10)

    page = await serving.churn.ListChurnRisks(request(page_size=20, page_token=token))

    assert [risk.rank for risk in page.churn_risks] == list(range(11, 31))


@pytest.mark.parametrize(
    "change",
    [
        {"market": "FR"},
        {"order": VALUE},
        {"locale": "de"},
        {"risk_bands": [pb.RISK_BAND_LOW]},
        {"value_at_risk_minor_min": 0},
        {"status": pb.CHURN_STATUS_CLOSED},
    ],
    ids=lambda c: next(iter(c)),
)
async def test_a_token_of_a_different_list_is_rejected(serving: Serving, change: dict[str, Any]) -> None:
    """Only page_size may change between pages; all other fields must be unchanged."""
    token = await read_second_page_token(serving)

    error = await page_error(serving, page_token=token, **change)

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_token_is_valid_for_the_unspecified_and_for_the_default_order(serving: Serving) -> None:
    token = await read_second_page_token(serving, order=pb.CHURN_RISK_ORDER_UNSPECIFIED)

    page = await serving.churn.ListChurnRisks(request(page_token=token, order=PROBABILITY))

    assert page.churn_risks[0].rank == 101


async def test_a_changed_token_is_rejected(serving: Serving) -> None:
    content = base64.urlsafe_b64decode((token := await read_second_page_token(serving)) + "=" * (-len(token) % 4))
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        error = await page_error(serving, page_token=base64.urlsafe_b64encode(changed).decode().rstrip("="))

        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_text_that_is_not_a_token_is_rejected(serving: Serving) -> None:
    for token in ("x", "not a token", "é", "AAAA", "A" * 1024, "=", "\x00"):
        error = await page_error(serving, page_token=token)

        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_token_of_a_different_database_is_rejected(serving: Serving) -> None:
    own = (await serving.churn.ListChurnRisks(request())).churn_risks[-1]
    place = RiskPageCursor(1, "DE", "0" * 16, ALL, own.rank, own.customer.customer_id)
    foreign = PageTokens(lambda: [b"another database's key"], 7, utc_now).write(place)

    error = await page_error(serving, page_token=foreign)

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_token_that_is_too_long_is_rejected_with_the_limit(serving: Serving) -> None:
    error = await page_error(serving, page_token="A" * 1025)

    assert error.reason == "REQUEST_INVALID"
    assert "1024" in error.problems["page_token"]


async def test_a_token_of_a_removed_run_requires_a_new_list(serving: Serving) -> None:
    token = await read_second_page_token(serving)
    with serving.application.database.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET state = 'PRUNING'")

    error = await page_error(serving, page_token=token)

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESYNC_REQUIRED")
    assert "begin again" in error.message


async def test_an_invalid_order_and_market_are_reported_in_one_error(serving: Serving) -> None:
    error = await page_error(serving, order=99, market="Germany")

    assert error.reason == "REQUEST_INVALID"
    assert set(error.problems) == {"order", "market"}


def test_the_token_of_the_longest_customer_id_is_within_the_limit() -> None:
    tokens = PageTokens(lambda: [b"key"], 7, utc_now)
    for place in (
        RiskPageCursor(2**31, "DE", "0" * 16, 2**31, -(2**62), "x" * 64),
        SyncCursor("DE", "zh-Hant-TW-12345678", 2**31, 2**31, 2**31, 2**31, "REMOVED", "x" * 64, 2**31, withheld=True),
    ):
        token = tokens.write(place)

        assert len(token) <= 1024
        assert tokens.read(token, type(place)) == place  # type: ignore[type-var] # one of two kinds
