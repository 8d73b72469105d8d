"""The CRM records a contact with a customer at risk in the browser: once, after a confirmation, and corrects it."""

import datetime as dt
import html
import re
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from starlette.requests import Request

from console.pages.form import Form
from console.rendering import render_markup
from grounds.churn.v1 import churn_pb2
from grounds.customer.v1.customer_pb2 import Customer
from grounds_client import Client
from tests.console.browsing import Answer, Browser
from tests.console.chromium import check_page, open_page
from tests.console.conftest import SCRIPT, Pages
from tests.console.test_pages import text_of

MINUTE = "2026-02-03T10:15"


def log_size(pages: Pages) -> int:
    """Return the number of records of the log."""
    with Client(pages.address) as client:
        return int(client.get_checkpoint().checkpoint.split("\n")[1])


def form_path(pages: Pages, customer: str = "") -> str:
    """Return the address of the form for a customer, by default the one most at risk."""
    with Client(pages.address) as client:
        risk = next(client.list_churn_risks("DE")) if not customer else client.get_churn_risk("DE", customer)
    return f"/churn/DE/contact?customer={risk.customer.customer_id}&run={risk.run_id}&family="


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: html.unescape(text) for name, text in found}


def send(browser: Browser, path: str, page: str, step: str, **fields: str) -> Answer:
    """Send the form of a page."""
    return browser.post(path.partition("?")[0], **hidden_fields(page) | fields, step=step)


def test_a_contact_is_recorded_once_after_its_confirmation(pages: Pages) -> None:
    browser, path = Browser(pages.url), form_path(pages)
    before = log_size(pages)

    form = browser.get(path)
    question = send(browser, path, form.html, "review", channel="PHONE", contact_time=MINUTE, campaign="spring & <b>")
    assert log_size(pages) == before
    first = send(browser, path, question.html, "record")
    again = send(browser, path, question.html, "record")

    assert "Record this contact?" in question.html
    assert "Telephone call" in question.html
    assert re.search(
        r"contact [0-9a-f-]{36}, 2026-02-03 10:15:00: by phone, campaign spring & <b>", text_of(first.html)
    )
    assert text_of(again.html) == text_of(first.html)
    assert log_size(pages) == before + 1


def test_the_form_begins_on_the_page_of_the_customer(pages: Pages) -> None:
    with Client(pages.address) as client:
        risk = next(client.list_churn_risks("DE"))
    browser, customer = Browser(pages.url), risk.customer.customer_id

    page = browser.get(f"/churn/DE/customer?customer={customer}").html

    assert f'href="{html.escape(form_path(pages))}"' in page
    assert f"since the run of {risk.band_since_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC" in text_of(page)
    missing = browser.get("/churn/DE/contact")
    assert (missing.status, "customer: is missing" in missing.html, "run: is missing" in missing.html) == (
        400,
        True,
        True,
    )


def test_a_contact_is_corrected_by_another_one_that_says_it_did_not_take_place(pages: Pages) -> None:
    browser, path = Browser(pages.url), form_path(pages)
    assert 'value="NONE"' not in browser.get(path).html
    question = send(browser, path, browser.get(path).html, "review", channel="LETTER", contact_time=MINUTE)
    recorded = send(browser, path, question.html, "record")
    link = re.search(r'href="([^"]*corrects=([0-9a-f-]{36}))"', recorded.html)
    assert link is not None

    correction = browser.get(html.unescape(link[1]))
    question = send(browser, path, correction.html, "review", channel="NONE", contact_time=MINUTE)
    corrected = send(browser, path, question.html, "record")

    assert "Correct a contact" in correction.html
    assert re.search(f"did not take place(, campaign [^,]+)?, corrects {link[2]}", text_of(corrected.html))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"channel": "", "contact_time": MINUTE}, 'href="#channel">channel</a> is required'),
        ({"channel": "PHONE", "contact_time": ""}, 'href="#contact_time">contact time</a> is required'),
        ({"channel": "PIGEON", "contact_time": MINUTE}, "must be one of PHONE, EMAIL"),
        ({"channel": "PHONE", "contact_time": "yesterday"}, "must be a time in UTC such as 2026-11-30T10:15"),
        ({"channel": "PHONE", "contact_time": "2020-01-01T00:00"}, "must not be before the as-of time of the run"),
        ({"channel": "PHONE", "contact_time": "2999-01-01T00:00"}, "must not be in the future"),
        ({"channel": "NONE", "contact_time": MINUTE}, "must not be NONE unless this contact corrects another one"),
        ({"channel": "PHONE", "contact_time": MINUTE, "campaign": "=1+1"}, 'href="#campaign">campaign</a>'),
    ],
)
def test_an_invalid_contact_is_explained_at_its_field_and_not_recorded(
    pages: Pages, fields: dict[str, str], problem: str
) -> None:
    browser, path = Browser(pages.url), form_path(pages)
    before = log_size(pages)

    answer = send(browser, path, browser.get(path).html, "record", **fields)

    assert (answer.status, log_size(pages)) == (400, before)
    assert problem in html.unescape(answer.html)
    assert "The contact was not recorded." in answer.html


def test_the_form_warns_of_a_customer_whom_campaigns_must_not_contact() -> None:
    customer = Customer(market="DE", customer_id="A")
    form = Form(Request({"type": "http", "method": "GET", "query_string": b"customer=A&run=1", "headers": []}))

    def page(**fields: Any) -> str:
        values: dict[str, Any] = {"customer": customer, "churn_probability": 0.5, "run_id": "1", **fields}
        risk = churn_pb2.ChurnRisk(**values)
        return text_of(render_markup("contact_question.html", **shown | {"risk": risk}))

    shown = {"form": form, "channel": "Letter", "request_id": "", "title": "", "menu": (), "path": "", "page": ""} | {
        "query": {},
        "purpose": "",
        "signed_in": "",
        "market": "DE",
    }
    assert "Campaigns must not contact this customer (no action: held out)" in page(hold_out=True)
    assert "(no action: DO_NOT_CONTACT)" in page(suppressions=["DO_NOT_CONTACT"])
    assert "must not contact" not in page(action_allowed=True)
    assert "must not contact" not in page(hold_out=True, run_id="2"), "another run than that of the contact"


def test_a_contact_of_a_customer_who_is_not_in_the_newest_run_can_still_be_recorded(pages: Pages) -> None:
    """The link to correct a contact remains valid; whether the run had the customer is checked by the server."""
    path = form_path(pages).replace("customer=", "customer=GONE-")
    page = Browser(pages.url).get(path)
    assert page.status == 200
    assert re.search(r"Customer DE GONE-\w+ is not in the newest run[.]", text_of(page.html))
    assert 'name="channel"' in page.html


def test_a_form_of_another_origin_records_no_contact(pages: Pages) -> None:
    browser, before = Browser(pages.url, Sec_Fetch_Site="cross-site"), log_size(pages)

    refused = browser.post("/churn/DE/contact", customer="A", run="0" * 32, channel="PHONE", step="record")

    assert (refused.status, log_size(pages)) == (403, before)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_a_person_records_a_contact_in_chromium_without_a_barrier(
    chromium: Chromium, pages: Pages, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)

    page.goto(f"{pages.url}/churn/DE")
    page.locator("tbody a").first.click()
    page.get_by_role("link", name="Record a contact").click()
    check_page(page)
    page.get_by_label("How").select_option("EMAIL")
    page.get_by_label("Campaign").fill(SCRIPT[:60])
    page.get_by_role("button", name="Continue").click()
    check_page(page)
    page.get_by_role("button", name="Record it for good").click()
    check_page(page)

    assert page.get_by_text("by email, campaign <script>").is_visible()
    assert f"{dt.datetime.now(dt.UTC):%Y-%m-%d}" in page.locator(".banner").inner_text()
    assert problems == []
