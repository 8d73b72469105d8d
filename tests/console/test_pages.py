"""The pages show what the services answer, refuse what is invalid, and read no evidence without a purpose."""

import datetime as dt
import html
import http.client
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import Request
from typer.testing import CliRunner

from console.__main__ import app as command
from console.app import create_app
from console.connections import SharedClient
from grounds_client import Amount, Client
from grounds_client.formatting import money_text, time_text
from tests.console.browsing import Browser, get_page
from tests.console.conftest import SCRIPT, Pages
from tests.console.serving import open_console

PURPOSE = "Annual review 2026, case 17"
MENU = (
    "/",
    "/decisions",
    "/sample",
    "/working-papers",
    "/what-if",
    "/churn",
    "/models",
    "/policy",
    "/activations",
    "/log",
)


def text_of(page: str) -> str:
    """Return the text of a page as a person reads it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def auditor(pages: Pages) -> Browser:
    """Return a browser whose user has stated a purpose."""
    browser = Browser(pages.url)
    browser.post("/purpose", purpose=PURPOSE, next="/")
    return browser


def test_the_loan_desk_finds_every_decision_about_a_customer(auditor: Browser, pages: Pages) -> None:
    decision = auditor.get(f"/decisions/{pages.decision_ids[0]}").html
    assert 'href="/customer-decisions?market=DE&amp;customer=C00000"' in decision

    page = auditor.get("/customer-decisions?market=DE&customer=C00000").html
    with Client(pages.address) as client:
        known = list(client.list_customer_decisions("DE", "C00000"))

    links = re.findall(r'href="/decisions/([0-9a-f-]{36})"', page)
    assert links == [each.decision_id for each in known][:50]
    assert set(pages.decision_ids) <= set(links)
    assert "DECLINE 0.00 EUR by u17" in text_of(page)
    assert "No decision is recorded about this customer" in text_of(
        auditor.get("/customer-decisions?market=DE&customer=x").html
    )


def test_an_auditor_finds_every_decision_about_a_customer_and_the_reading_is_recorded(pages: Pages) -> None:
    browser, path = Browser(pages.url), "/decisions?market=DE&customer=C00000"
    with Client(pages.address) as client:
        known = [each.decision_id for each in client.list_customer_decisions("DE", "C00000")]
        before = int(client.get_checkpoint().checkpoint.split("\n")[1])
        form = browser.get(path)
        page = browser.post("/purpose", purpose=PURPOSE, next=path)
        after = int(client.get_checkpoint().checkpoint.split("\n")[1])

    assert "Why do you read evidence?" in form.html
    assert page.url == pages.url + path
    assert re.findall(r'href="/evidence/([0-9a-f-]{36})"', page.html) == known[:50]
    assert f"read for: {PURPOSE}. This reading is itself record {before} of the record log" in text_of(page.html)
    assert after == before + 1
    assert f'href="{html.escape(path)}"' in browser.get(f"/evidence/{pages.decision_ids[0]}").html
    refused = browser.get("/decisions?customer=C00000")
    assert (refused.status, "market: is required with a customer" in refused.html) == (400, True)


def test_no_evidence_is_read_before_a_purpose_is_stated_and_every_reading_is_recorded_with_it(pages: Pages) -> None:
    browser, path = Browser(pages.url), f"/evidence/{pages.decision_ids[1]}"
    with Client(pages.address) as client:
        before = client.get_checkpoint().checkpoint
        form = browser.get(path)
        assert client.get_checkpoint().checkpoint == before
        page = browser.post("/purpose", purpose=PURPOSE, next=path)
        after = int(client.get_checkpoint().checkpoint.split("\n")[1])

    assert "Why do you read evidence?" in form.html
    assert page.url.endswith(path)
    assert f"Read for: {PURPOSE}." in text_of(page.html)
    assert after == int(before.split("\n")[1]) + 2  # the evidence, and the replay
    assert {cookie.name: cookie.get_nonstandard_attr("SameSite") for cookie in browser.cookies} == {"purpose": "strict"}


def test_the_purpose_leads_only_to_pages_of_the_console(pages: Pages) -> None:
    for elsewhere in ("https://example.com/", "//example.com/", "/\\example.com", "example.com"):
        assert Browser(pages.url).post("/purpose", purpose=PURPOSE, next=elsewhere).url == f"{pages.url}/"
    for purpose in ("", " ", "x" * 201):
        refused = Browser(pages.url).post("/purpose", purpose=purpose, next="/")
        assert (refused.status, "must have 1 to 200 characters" in refused.html) == (400, True)


def test_the_evidence_page_shows_every_input_contribution_rule_reason_and_proof(pages: Pages, auditor: Browser) -> None:
    decision_id = pages.decision_ids[2]
    with Client(pages.address) as client:
        evidence = client.get_evidence(decision_id, PURPOSE)
    text = text_of(auditor.get(f"/evidence/{decision_id}").html)

    assessment = evidence.decision.assessment
    shown = [
        *(line.feature for line in evidence.record.features),
        *(repr(line.number) for line in evidence.record.features if line.HasField("value")),
        *(f"{line.log_odds:+.6f}" for line in assessment.explanation.contributions),
        *(rule.code for rule in assessment.policy_result.rules),
        *(reason.text for reason in assessment.reasons.reasons),
        f"{assessment.model_output.score} points",
        money_text(evidence.decision.requested_amount),
        evidence.record.bundle_id,
        evidence.record.policy_sha256,
        f"activation of the bundle {evidence.record.activation_id}",
        f"activation of the policy {evidence.record.policy_activation_id}",
        evidence.decision.record_ref.content_sha256,
        evidence.proof.record.header.decode(),
    ]
    assert [each for each in shown if " ".join(each.split()) not in text] == []
    assert "the points add up to the score" in text
    assert text.count(" MATCH ") == 4


def test_every_page_of_the_menu_answers_and_every_link_leads_to_a_page(auditor: Browser) -> None:
    def kind(address: str) -> str:
        """Return an address without ids and query: many links of a kind lead to the same page with different data."""
        return re.sub(r"[0-9a-f-]{32,}", "ID", address.partition("?")[0])

    waiting, seen = {kind(path): path for path in MENU}, set[str]()
    while waiting:
        name, path = waiting.popitem()
        page = auditor.get(path)
        assert page.status == 200, (path, text_of(page.html))
        seen.add(name)
        links = [html.unescape(link) for link in re.findall(r'<a[^>]* href="(/[^"#]*)"', page.html)]
        waiting |= {kind(link): link for link in links if kind(link) not in seen}

    assert {"/evidence/ID", "/models/ID", "/churn/DE", "/churn/DE/customer", "/churn/DE/evidence", "/purpose"} <= seen


@pytest.mark.parametrize("path", ["/churn", "/churn/DE", "/churn/DE/customer?customer={}"])
def test_predictions_state_whether_they_have_expired(pages: Pages, auditor: Browser, path: str) -> None:
    with Client(pages.address) as client:
        (run,) = (each for each in client.list_churn_runs() if each.market == "DE")
        customer = next(iter(client.list_churn_risks("DE", page_size=1))).customer.customer_id
    text = text_of(auditor.get(path.format(customer)).html)
    has_expired = run.valid_until_time.ToDatetime(dt.UTC) < dt.datetime.now(dt.UTC)
    assert ("expired" in text) == has_expired
    assert ("valid until" in text) != (has_expired and path != "/churn")
    assert time_text(run.valid_until_time) in text
    assert path == "/churn" or f"no purchase within {run.horizon_days} days" in text


def test_the_evidence_page_answers_whether_the_record_is_unchanged_and_leads_to_the_comparison(
    pages: Pages, auditor: Browser
) -> None:
    page = auditor.get(f"/evidence/{pages.decision_ids[2]}").html
    assert "Yes: every check below holds." in text_of(page)
    assert 'href="/log#comparison"' in page
    assert 'id="comparison"' in auditor.get("/log").html


def test_every_answer_forbids_scripts_frames_other_origins_and_copies_in_a_cache(pages: Pages) -> None:
    for path in (*MENU, "/nowhere", "/decisions?grade=" + "Z" * 40, "/static/console.css"):
        headers = Browser(pages.url).get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self';")
        assert headers["referrer-policy"] == "same-origin"
        assert (headers["cache-control"] == "no-store") == (not path.startswith("/static"))


def test_markup_and_invisible_characters_in_recorded_texts_are_shown_as_text(pages: Pages, auditor: Browser) -> None:
    decision = auditor.get(f"/decisions/{pages.decision_ids[0]}").html
    evidence = auditor.get(f"/evidence/{pages.decision_ids[0]}").html
    purpose = auditor.post("/purpose", purpose=f"{SCRIPT}\u202eevil", next="/models").html
    form = auditor.get("/decisions?caller=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").html

    for page in (decision, evidence, purpose):
        assert "&lt;script&gt;" in page
        assert SCRIPT in html.unescape(page)
    for page in (decision, evidence, purpose, form):
        assert "<script" not in page
    assert "\u202e" not in purpose


def test_a_refusal_states_code_field_and_problem(auditor: Browser) -> None:
    cases = {
        "/evidence/01a22c57-13e3-7367-b1a1-8e29bb6fb810": (404, "DECISION_UNKNOWN"),
        "/evidence/nonsense": (400, "REQUEST_INVALID"),
        "/decisions?market=germany": (400, "REQUEST_INVALID"),
        "/decisions?start=30.11.2026&decision=MAYBE": (
            400,
            "start: must be a day such as 2026-11-30, got '30.11.2026'",
        ),
        "/sample?seed=1&size=2000": (400, "size: must be a whole number from 1 to 1000, got '2000'"),
        "/churn/IT": (409, "NO_RUN"),
        "/nowhere": (404, "The console has no page with this address."),
        "/what-if?market=DE&customer=C00000&amount=1000": (
            400,
            "amount: must be an amount such as 120000TWD, got '1000'",
        ),
    }
    for path, (status, text) in cases.items():
        page = auditor.get(path)
        assert (page.status, text in text_of(page.html)) == (status, True), (path, text_of(page.html))
    assert "decision: must be one of APPROVE," in text_of(auditor.get("/decisions?start=x&decision=MAYBE").html)


def test_a_what_if_shows_both_assessments_and_records_nothing(pages: Pages) -> None:
    query = "/what-if?market=DE&customer=C00000&amount=1000EUR&set.days_late=300&set.turnover=50000"
    with Client(pages.address) as client:
        before = client.get_checkpoint().checkpoint
        text = text_of(Browser(pages.url).get(query).html)
        answer = client.simulate_credit(
            "DE", "C00000", Amount.parse("1000EUR"), features={"days_late": 300.0, "turnover": 50_000.0}
        )
        assert client.get_checkpoint().checkpoint == before

    assert f"{answer.simulated.model_output.score} points" in text
    assert "days_late" in text


def test_the_activations_show_what_the_service_returns(pages: Pages, auditor: Browser) -> None:
    with Client(pages.address) as client:
        changes = list(client.list_activations())
    text = text_of(auditor.get("/activations?market=DE").html)

    assert {change.bundle_id[:12] for change in changes if "DE" in change.markets} <= set(text.split())
    assert "No change is recorded." in auditor.get("/activations?market=IT&family=credit&day=2001-01-01").html


def test_a_request_for_another_host_name_is_rejected(pages: Pages) -> None:
    refused = Browser(pages.url, host="evil.example.com").get("/decisions")

    assert refused.status == 400
    assert "decision" not in refused.html.lower()


def test_the_console_listens_on_a_loopback_address_of_ipv6(pages: Pages) -> None:
    with open_console("--address", pages.address, "--host", "::1") as url:
        assert url.startswith("http://[::1]:")
        assert Browser(url).get("/decisions").status == 200
        assert Browser(url, host="[::2]").get("/decisions").status == 400


def test_the_body_of_an_answer_is_not_held_back(pages: Pages) -> None:
    """With Nagle's algorithm, the kernel sends the body 40 ms after the headers on every kept connection."""
    connection, waits = http.client.HTTPConnection(pages.url.removeprefix("http://")), []
    for _ in range(20):
        connection.request("GET", "/purpose")
        answer = connection.getresponse()
        begun = time.perf_counter()
        answer.read()
        waits.append(time.perf_counter() - begun)
    connection.close()

    assert min(waits[1:]) < 0.02  # the first answers of a connection are acknowledged at once


class FailingSource:
    """A source of clients with a bug: the message of its error contains a customer's data."""

    @contextmanager
    def open(self, request: Request) -> Iterator[Client]:
        yield self._client(request)

    def person(self, request: Request) -> str:
        del request
        return ""

    def _client(self, request: Request) -> Client:
        raise KeyError(f"customer {request.query_params['customer']}")


async def test_a_bug_shows_an_incident_id_and_logs_no_data(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(FailingSource(), None, ["localhost"])
    with caplog.at_level(logging.ERROR, logger="console"):
        status, page = await get_page(app, "/churn/DE/customer", "customer=C00001")

    incident = re.search(r"incident ([0-9a-f-]{36})", page)
    assert status == 500
    assert incident is not None
    assert incident[1] in caplog.text
    assert "KeyError" in caplog.text
    assert "C00001" not in caplog.text + page


def test_the_console_refuses_to_listen_on_a_network_without_tokens() -> None:
    for options, problem in (
        (["--host", "0.0.0.0"], "must be a loopback address"),  # noqa: S104 - refused
        (["--tokens-from-proxy"], "requires --ca"),
        (["--tokens-from-proxy", "--ca", "ca.pem", "--certificate", "a.pem"], "not both"),
        (["--ca", "ca.pem", "--certificate", "a.pem"], "specify both --certificate and --key"),
        (["--log-key", "nonsense"], "must be a public key or a file"),
        (["--host", "localhost"], "must be an IP address"),
        (["--allowed-host", "*"], "must be a complete host name"),
        (["--allowed-host", "a.example.com", "--allowed-host", "*.example.com"], "must be a complete host name"),
    ):
        done = CliRunner().invoke(command, options)
        assert done.exit_code == 2
        assert problem in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.output).split())


class PolicyUnavailable(Client):
    """A client whose calls about the policy reach no server."""

    def get_policy(self, **wanted: Any) -> Any:
        with Client("127.0.0.1:1") as nowhere:
            return nowhere.get_policy(**wanted)


async def test_a_policy_that_cannot_be_read_is_not_shown_as_one_without_overrides(pages: Pages) -> None:
    with PolicyUnavailable(pages.address) as client:
        app = create_app(SharedClient(client), None, ["localhost"])
        for path in ("override", ""):
            status, page = await get_page(app, f"/decisions/{pages.decision_ids[1]}/{path}".rstrip("/"))
            assert (status, "allows no overrides" in page) == (503, False)


class ModelsUnavailable(Client):
    """A client whose calls to list the models reach no server."""

    def list_models(self, family: str = "") -> Any:
        with Client("127.0.0.1:1") as nowhere:
            return nowhere.list_models(family)


async def test_models_that_cannot_be_read_are_not_shown_as_missing(pages: Pages) -> None:
    with ModelsUnavailable(pages.address) as client:
        app = create_app(SharedClient(client), None, ["localhost"])
        for path in ("/apply", "/what-if", "/models", "/"):
            status, _ = await get_page(app, path, "market=DE")
            assert status == 503


class ModelUnavailable(Client):
    """A client whose calls about one model reach no server."""

    def get_model(self, bundle_id: str) -> Any:
        with Client("127.0.0.1:1") as nowhere:
            return nowhere.get_model(bundle_id)


async def test_a_model_that_cannot_be_read_is_not_shown_as_one_without_features(pages: Pages) -> None:
    with ModelUnavailable(pages.address) as client:
        app = create_app(SharedClient(client), None, ["localhost"])
        for path in ("/apply", "/what-if"):
            status, _ = await get_page(app, path, "market=DE")
            assert status == 503


class CountingClient(Client):
    """A client that remembers the requests that it sent."""

    sent: list[str]

    def _call(self, method: Any, request: Any, **options: Any) -> Any:
        self.sent.append(type(request).__name__.removesuffix("Request"))
        return super()._call(method, request, **options)


async def test_no_page_calls_a_method_twice_and_none_lists_the_models_after_the_check_of_the_caller(
    pages: Pages,
) -> None:
    client = CountingClient(pages.address)
    client.sent = []
    with client:
        (serving,) = {each.bundle_id for each in client.list_models("credit") if "DE" in each.serving_markets}
        app = create_app(SharedClient(client), None, ["localhost"])
        for path, query, shown, calls in (
            ("/", "", f"/models/{serving}", ["ListChurnRuns", "GetCheckpoint"]),
            ("/models", "", f"/models/{serving}", []),
            ("/apply", "market=DE", "set.turnover", ["GetModel", "GetPolicy"]),
            # What a slider asks for when it moves.
            (
                "/what-if",
                "market=DE&customer=C00000&amount=1000EUR&set.days_late=3",
                "With these values",
                ["GetModel", "GetPolicy", "SimulateCredit"],
            ),
            ("/purpose", "", "Purpose", []),
        ):
            client.sent.clear()
            status, page = await get_page(app, path, query)
            assert (status, shown in page, client.sent) == (200, True, ["ListModels", *calls]), path
