"""A decision is described by the model that made it, even if another model serves the market by now."""

import asyncio

import pytest

from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, Client
from grounds_client.formatting import policy_lines
from server.config import Settings
from tests.client.command_line import run_process
from tests.console.browsing import Browser
from tests.console.serving import open_console
from tests.console.test_pages import text_of
from tests.server.edges.credit.test_decisions import settings_with_policy
from tests.server.servers import serve, swap_model
from tests.small import POLICY, SPEC, SmallFamily, write_small_family

LATER = "Number of days as the later model describes it"


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Train a bundle with a different description of one feature."""
    spec = SPEC.replace('name = "days_late"', f'name = "days_late"\ndescription = "{LATER}"')
    return write_small_family(tmp_path_factory.mktemp("later"), spec)


async def test_a_decision_is_described_by_its_own_model_after_another_one_serves(
    small_settings: Settings, later: SmallFamily
) -> None:
    async with serve(small_settings) as serving:
        address = f"127.0.0.1:{serving.application.port}"

        def score() -> credit_pb2.CreditDecision:
            with Client(address) as client:
                return client.score_credit("DE", "C00000", Amount.parse("1000EUR"), features={"turnover": 5_000.0})

        def read(decision_id: str) -> str:
            with open_console("--address", address) as url:
                return text_of(Browser(url).get(f"/decisions/{decision_id}").html)

        first = await asyncio.to_thread(score)
        await swap_model(serving, later.bundle_folder)
        second = await asyncio.to_thread(score)
        old = await asyncio.to_thread(read, first.record_ref.decision_id)
        new = await asyncio.to_thread(read, second.record_ref.decision_id)

    assert LATER in new
    assert LATER not in old
    assert "days_late" in old


async def test_a_model_that_cannot_be_read_is_none(small_settings: Settings) -> None:
    async with serve(small_settings) as serving:

        def find(bundle_id: str) -> str | None:
            with Client(f"127.0.0.1:{serving.application.port}") as client:
                model = client.find_model(bundle_id)
                return None if model is None else model.summary.bundle_id

        bundle_id = next(iter(serving.application.models.current.entries.values())).name
        assert await asyncio.to_thread(find, bundle_id) == bundle_id
        assert await asyncio.to_thread(find, "0" * 64) is None
        assert await asyncio.to_thread(find, "") is None


async def test_console_and_terminal_show_the_same_lines_of_the_policy_with_the_limits_of_grades(
    small_settings: Settings,
) -> None:
    text = POLICY.replace("[sections.overrides]", "[sections.limits]\nA = 40000\nB = 20000\n\n[sections.overrides]", 1)
    async with serve(settings_with_policy(small_settings, text)) as serving:
        address = f"127.0.0.1:{serving.application.port}"
        printed = await run_process(serving, "policy", "--market", "DE")

        def read() -> tuple[str, list[tuple[str, str]]]:
            with Client(address) as client, open_console("--address", address) as url:
                section = client.get_policy(market="DE").sections[0]
                return text_of(Browser(url).get("/policy?market=DE&product=&locale=").html), list(policy_lines(section))

        page, lines = await asyncio.to_thread(read)

    assert ("grade A", "40,000.00 EUR") in lines
    assert ("grade B", "20,000.00 EUR") in lines
    assert [line for line in lines if " ".join(line) not in page] == []
    assert [line for line in lines if " ".join(line) not in " ".join(printed.stdout.split())] == []
