"""The loan desk requests a decision with a form that is made from the market's model and policy."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium

import demo
from grounds_client import Client
from tests.console.browsing import Browser
from tests.console.chromium import check_page, open_page
from tests.console.conftest import SCRIPT, Pages, prepare_settings
from tests.console.serving import open_console
from tests.console.test_pages import text_of
from tests.server.churn_runs import ChurnFamily
from tests.small import SmallFamily, complete_policy

RULE = """
[[sections.rules]]
code = "CUSTOMER_BLOCKED"
fact = "blocked"
level = "yes"
passes = ["no"]
decision = "DECLINE"
if_missing = "APPROVE"

[[sections]]
market = "FR\""""


@pytest.fixture(scope="module")
def desk(
    small: SmallFamily, small_database: Path, churn_family: ChurnFamily, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pages]:
    """Serve a policy with a hard rule, with the console in front."""
    folder = tmp_path_factory.mktemp("application")
    settings = prepare_settings(folder, small, small_database, churn_family)
    policy = folder / "policy.toml"
    text = small.policy.read_text().replace('\n[[sections]]\nmarket = "FR"', RULE)
    policy.write_text(complete_policy(text + '\n[texts.CUSTOMER_BLOCKED]\nen = "Blocked"\n'))
    settings["GROUNDS_POLICY"] = str(policy)
    with demo.serving(folder / "log", **settings) as address, open_console("--address", address) as url:
        yield Pages(url, address, [])


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_an_officer_requests_a_decision_in_the_browser(
    chromium: Chromium, desk: Pages, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)
    page.goto(desk.url)
    page.get_by_role("link", name="request a decision").click()
    check_page(page)
    page.get_by_label("Market").fill("DE")
    page.get_by_role("button", name="Continue").click()
    check_page(page)
    assert page.get_by_label("days_late").count() == 0  # only the store has it
    page.get_by_label("Customer").fill("C00000")
    page.get_by_label("Amount").fill("1000EUR")
    page.get_by_label("turnover").fill("5000")
    page.get_by_label("blocked").fill("yes")
    page.get_by_role("button", name="Request the decision").click()
    page.wait_for_url("**/decisions/*")
    check_page(page)

    assert problems == []
    with Client(desk.address) as client:
        found = client.get_evidence(page.url.rpartition("/")[2], "Review")
    assert (found.request.customer.customer_id, found.request.features["turnover"].number) == ("C00000", 5000.0)
    assert found.request.facts["blocked"].level == "yes"
    assert "Blocked" in page.locator("main").inner_text()


def test_a_second_click_records_no_second_decision(desk: Pages) -> None:
    browser = Browser(desk.url)
    form = browser.get("/apply?market=DE").html
    request_id = re.search(r'name="request_id" value="([^"]+)"', form)
    assert request_id is not None
    fields = {"market": "DE", "customer": "C00000", "amount": "1000EUR", "request_id": request_id[1], "step": "decide"}
    pages = [browser.post("/apply", **fields, **{"set.turnover": "5000"}).url for _ in range(2)]
    assert "/decisions/" in pages[0]
    assert pages[0] == pages[1]


def test_every_invalid_field_of_a_request_is_named_and_nothing_is_recorded(desk: Pages) -> None:
    browser = Browser(desk.url)
    fields = {"market": "DE", "customer": "C00000", "amount": "1000EUR", "step": "decide"}
    with Client(desk.address) as client:
        before = client.get_checkpoint().checkpoint
        cases = (
            ({"amount": "1000"}, ("amount must be an amount such as",)),
            ({"customer": "", "amount": ""}, ("customer is required", "amount is required")),
            ({"set.turnover": "-5", "set.years": "400"}, ("set.turnover", "set.years")),
            ({"fact.blocked": SCRIPT}, ("fact.blocked must be one of: no, yes",)),
            ({"set.turnover": SCRIPT}, ("set.turnover",)),
            ({"amount": "1000USD"}, ("amount",)),
        )
        for changes, expected in cases:
            refused = browser.post("/apply", **fields | changes)
            assert refused.status == 400
            for words in expected:
                assert words in text_of(refused.html), text_of(refused.html)
            assert "<script" not in refused.html
        assert SCRIPT in html.unescape(browser.post("/apply", **fields | {"set.turnover": SCRIPT}).html)
        foreign = Browser(desk.url, sec_fetch_site="cross-site").post("/apply", **fields)
        assert foreign.status == 403
        assert client.get_checkpoint().checkpoint == before
