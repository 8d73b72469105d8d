"""A loan officer overrides a decision in the browser: the server decides, and a second person agrees as themselves."""

import dataclasses
import html
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from httpx2 import Response
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

import demo
from console.app import create_app
from console.connections import SharedClient
from console.override_proposals import OverrideProposals, ProposalEnded, ProposedOverride
from grounds.credit.v1 import credit_pb2
from grounds_client import Amount, Client, ClientCredentials
from tests.console.browsing import Browser
from tests.console.chromium import check_page, open_page
from tests.console.conftest import SCRIPT, Pages, prepare_settings
from tests.console.serving import open_console
from tests.console.test_pages import text_of
from tests.server.churn_runs import ChurnFamily
from tests.server.edges.identity.certificates import CertificateAuthority, encode_token, write_key_set
from tests.small import SmallFamily

KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER = "https://issuer.example.com"
FIRST, SECOND, AUDITOR = "u17.example.com", "u18.example.com", "u99.example.com"
WITH_SLASH, LONG = "example.com/u20", "u" * 65  # principals whose names do not fit into an override
TABLE = (
    "".join(
        f"""
[[callers]]
principal = "{name}"
roles = ["{role}"]
markets = ["DE"]
[callers.override_limits.CREDIT_MANAGER]
EUR = "40000"
"""
        for name, role in (
            *((officer, "loan_desk") for officer in (FIRST, SECOND, WITH_SLASH, LONG)),
            (AUDITOR, "auditor"),
        )
    )
    + "# End of the authority file.\n"
)
FIELDS = {
    "decision": "APPROVE_REDUCED",
    "granted_amount": "500",
    "reason_code": "NEW_INFORMATION",
    "user_id": "u17",
    "user_role": "CREDIT_MANAGER",
    "authority_limit": "40000EUR",
    "comment": SCRIPT,
}


@dataclass(frozen=True)
class SignedIn:
    """A console in front of a server that knows persons by their tokens."""

    url: str
    address: str
    ca: Path

    def token(self, person: str) -> str:
        now = time.time()
        claims = {"iss": ISSUER, "aud": "grounds", "sub": person, "iat": now - 60, "exp": now + 3600}
        return encode_token({"alg": "EdDSA", "kid": "k1"}, claims, KEY)

    def browser(self, person: str) -> Browser:
        return Browser(self.url, authorization=f"Bearer {self.token(person)}")

    def client(self, person: str) -> Client:
        return Client(self.address, credentials=ClientCredentials(self.ca, token=self.token(person)))

    def new_decision(self, amount: str) -> str:
        with self.client(FIRST) as client:
            scored = client.score_credit("DE", "C00000", Amount.parse(amount), features={"turnover": 5_000.0})
        assert scored.decision != credit_pb2.DECISION_APPROVE
        return scored.record_ref.decision_id

    def overrides(self, decision_id: str) -> list[credit_pb2.Override]:
        with self.client(FIRST) as client:
            return list(client.get_credit_decision(decision_id).overrides)


@pytest.fixture(scope="module")
def signed_in(
    small: SmallFamily, small_database: Path, churn_family: ChurnFamily, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SignedIn]:
    """Serve with TLS and bearer tokens, with the console in front."""
    folder = tmp_path_factory.mktemp("override")
    settings = prepare_settings(folder, small, small_database, churn_family)
    authority = CertificateAuthority.create()
    authority.issue(folder, "server")
    ca = authority.write(folder / "ca.pem")
    (folder / "authority.toml").write_text(TABLE)
    settings |= {
        "GROUNDS_TLS_CERTIFICATE": str(folder / "server.pem"),
        "GROUNDS_TLS_KEY": str(folder / "server.key"),
        "GROUNDS_AUTHORITY": str(folder / "authority.toml"),
        "GROUNDS_JWT_KEYS": str(write_key_set(folder / "keys.json", {"k1": KEY})),
        "GROUNDS_JWT_ISSUER": ISSUER,
        "GROUNDS_JWT_AUDIENCE": "grounds",
    }
    with (
        demo.serving(folder / "log", **settings) as address,
        open_console("--address", address, "--ca", str(ca), "--tokens-from-proxy") as url,
    ):
        yield SignedIn(url, address, ca)


def propose_override(page: Page, signed_in: SignedIn, decision_id: str) -> str:
    """Fill in the form of an override, and confirm it; return the address for the second person."""
    page.goto(f"{signed_in.url}/decisions/{decision_id}")
    page.get_by_role("link", name="Override this decision").click()
    check_page(page)
    page.get_by_label("New decision").select_option(label="Grant a smaller amount")
    page.get_by_label("Granted amount").fill("15000")
    page.get_by_label("Reason").select_option(label="Something newer is known")
    page.get_by_label("Your role").fill("CREDIT_MANAGER")
    page.get_by_label("The largest amount that you may grant").fill("40000")
    page.get_by_label("Comment").fill(f"{SCRIPT}\nsecond line")
    page.get_by_role("button", name="Continue").click()
    check_page(page)
    assert signed_in.overrides(decision_id) == []
    page.get_by_role("button", name="Record it for good").click()
    check_page(page)
    assert signed_in.overrides(decision_id) == []
    return page.locator("pre").inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_loan_officer_overrides_a_decision_in_the_browser_and_a_second_person_agrees(
    chromium: Chromium, signed_in: SignedIn, width: int, scheme: str
) -> None:
    decision_id, problems = signed_in.new_decision("20000EUR"), list[str]()
    page = open_page(chromium, width, scheme, problems, authorization=f"Bearer {signed_in.token(FIRST)}")
    link = propose_override(page, signed_in, decision_id)

    page.goto(link)  # the first person cannot be the second
    page.get_by_role("button", name="I agree").click()
    assert page.get_by_text("must not be the same person as user_id").is_visible()
    assert signed_in.overrides(decision_id) == []
    problems.clear()  # Chromium reports the status 400

    second = open_page(chromium, width, scheme, problems, authorization=f"Bearer {signed_in.token(SECOND)}")
    second.goto(link)
    check_page(second)
    second.get_by_role("button", name="I agree").click()
    second.wait_for_url(f"**/decisions/{decision_id}")
    check_page(second)

    (found,) = signed_in.overrides(decision_id)
    assert (found.user_id, found.second_user_id) == (FIRST, SECOND)
    assert (found.granted_amount.units, found.comment) == (15000, f"{SCRIPT}\nsecond line")
    banner = second.locator(".banner").inner_text()
    assert f"APPROVE_REDUCED 15,000.00 EUR (a case that the policy referred) by {FIRST} and {SECOND}" in banner or (
        f"APPROVE_REDUCED 15,000.00 EUR (more than the policy) by {FIRST} and {SECOND}" in banner
    )
    assert SCRIPT in banner
    assert problems == []


def test_without_a_signed_in_person_the_form_asks_who_decides_and_who_agrees(pages: Pages) -> None:
    browser, path = Browser(pages.url), f"/decisions/{pages.decision_ids[1]}/override"
    with Client(pages.address) as client:
        decided = client.get_credit_decision(pages.decision_ids[1]).credit_decision.decision
        less = {"reason_code": "FRAUD_SUSPECTED"} if decided == credit_pb2.DECISION_APPROVE else {}
        fields = FIELDS | less | {"second_user_id": "u18"}
        review = browser.post(path, **fields)
        assert list(client.get_credit_decision(pages.decision_ids[1]).overrides) == []
        request_id = re.search(r'name="request_id" value="([^"]+)"', review.html)
        assert request_id is not None
        for _ in range(2):  # a second click records nothing more
            done = browser.post(path, **fields, request_id=request_id[1], step="record")
            assert done.url == f"{pages.url}/decisions/{pages.decision_ids[1]}"
        (found,) = client.get_credit_decision(pages.decision_ids[1]).overrides
    assert (found.user_id, found.second_user_id, found.comment) == ("u17", "u18", SCRIPT)
    assert SCRIPT in html.unescape(review.html)
    assert "<script" not in review.html + done.html


def test_every_invalid_field_is_named_with_its_problem_and_nothing_is_lost(pages: Pages) -> None:
    browser, path = Browser(pages.url), f"/decisions/{pages.decision_ids[2]}/override"
    cases: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
        (
            {"decision": "", "authority_limit": "x"},
            ("decision is required", "authority limit must be an amount such as"),
        ),
        ({"decision": "REFER"}, ("decision must be one of APPROVE, APPROVE_REDUCED, DECLINE, got 'REFER'",)),
        ({"granted_amount": ""}, ("granted amount is required for DECISION_APPROVE_REDUCED",)),
        ({"granted_amount": "500USD"}, ("granted amount must be EUR, the currency of the decision",)),
        ({"authority_limit": "1"}, ("authority limit is below the granted amount",)),
        ({"user_role": "manager", "user_id": "two words"}, ("user role ", "user id ")),
        ({"reason_code": "BECAUSE"}, ("reason code must be one of",)),
    )
    for changes, expected in cases:
        refused = browser.post(path, **FIELDS | changes, step="record")
        text = text_of(refused.html)
        assert refused.status == 400
        for problem in expected:
            assert problem in text, text
        assert SCRIPT in html.unescape(refused.html)
    with Client(pages.address) as client:
        assert list(client.get_credit_decision(pages.decision_ids[2]).overrides) == []


def test_no_other_origin_can_record_or_agree_to_an_override(pages: Pages) -> None:
    for headers in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
    ):
        for path in (f"/decisions/{pages.decision_ids[2]}/override", "/overrides/x"):
            answer = Browser(pages.url, **headers).post(path, **FIELDS, step="record")
            assert (answer.status, "A form of another origin" in answer.html) == (403, True)
    assert Browser(pages.url).post("/purpose", purpose="x" * 70_000, next="/").status == 413
    with Client(pages.address) as client:
        assert list(client.get_credit_decision(pages.decision_ids[2]).overrides) == []


def test_who_may_not_override_sees_no_button_and_is_refused_by_the_server(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("1000EUR")
    officer, auditor = signed_in.browser(FIRST), signed_in.browser(AUDITOR)
    auditor.post("/purpose", purpose="Review", next="/")
    evidence = auditor.get(f"/evidence/{decision_id}")

    assert "/override" in officer.get(f"/decisions/{decision_id}").html
    assert (evidence.status, "/override" in evidence.html) == (200, False)
    refused = auditor.post(f"/decisions/{decision_id}/override", **FIELDS, step="record")
    assert (refused.status, "METHOD_NOT_ALLOWED" in refused.html) == (403, True)
    too_much = officer.post(
        f"/decisions/{decision_id}/override", **FIELDS | {"authority_limit": "50000"}, step="record"
    )
    assert "must be at most 40,000 EUR, the limit of this caller" in text_of(too_much.html)
    assert signed_in.overrides(decision_id) == []


def test_a_person_cannot_decide_or_agree_in_the_name_of_another(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("1000EUR")
    signed_in.browser(FIRST).post(f"/decisions/{decision_id}/override", **FIELDS, second_user_id=SECOND, step="record")
    (found,) = signed_in.overrides(decision_id)

    assert (found.user_id, found.second_user_id) == (FIRST, "")


def test_an_override_waits_eight_hours_for_a_second_person() -> None:
    now = [0.0]
    proposals = OverrideProposals(lambda: now[0])
    amount = Amount.parse("1EUR")
    proposal = ProposedOverride("d", credit_pb2.DECISION_APPROVE, None, "R", "u", "ROLE", amount, "", "", "r", "")
    other = dataclasses.replace(proposal, comment="more")
    first = proposals.add(proposal)
    now[0] = 8 * 3600 - 1.0
    second = proposals.add(other)

    assert (proposals.find(first), proposals.add(proposal)) == (proposal, first)
    now[0] += 1
    assert proposals.find(second) == other
    proposals.delete(second)
    for name in ("unknown", first, second):
        with pytest.raises(ProposalEnded):
            proposals.find(name)


BIG = FIELDS | {"granted_amount": "15000", "comment": ""}  # the policy requires a second person


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def confirm_override(browser: Browser, decision_id: str, **changes: str) -> dict[str, str]:
    """Fill in the form of an override as a person does; return the fields of the page that asks to confirm it."""
    path = f"/decisions/{decision_id}/override"
    filled = hidden_fields(browser.get(path).html) | BIG | changes
    fields = hidden_fields(browser.post(path, **filled, step="review").html)
    assert "request_id" in fields
    return fields


def propose(browser: Browser, decision_id: str, fields: dict[str, str]) -> str:
    """Confirm an override that a second person must agree to; return the path for that person."""
    page = browser.post(f"/decisions/{decision_id}/override", **fields, step="record")
    assert "A second person must agree" in page.html, text_of(page.html)
    return re.findall(r"<pre[^>]*>[^<]*(/overrides/[^<]+)</pre>", page.html)[0]


def test_a_proposal_ends_when_the_decision_is_overridden_since(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    first, second = signed_in.browser(FIRST), signed_in.browser(SECOND)
    stale = confirm_override(first, decision_id)
    link = propose(first, decision_id, stale)
    assert second.get(link).status == 200
    second.post(
        f"/decisions/{decision_id}/override",
        **confirm_override(second, decision_id, granted_amount="700"),
        step="record",
    )
    (newer,) = signed_in.overrides(decision_id)
    assert newer.granted_amount.units == 700

    for late in (
        second.get(link),
        second.post(link),
        first.post(f"/decisions/{decision_id}/override", **stale, step="review"),
        first.post(f"/decisions/{decision_id}/override", **stale, step="record"),
    ):
        assert late.status in {400, 409}
        assert "decision was overridden since this override was filled in" in text_of(late.html)
        assert f"override {newer.override_id}" in text_of(late.html)  # the history
        assert "I agree" not in late.html
    assert list(signed_in.overrides(decision_id)) == [newer]

    again = propose(first, decision_id, confirm_override(first, decision_id))
    assert f"override {newer.override_id}" in text_of(second.get(again).html)
    assert second.post(again).url.endswith(f"/decisions/{decision_id}")
    assert [each.granted_amount.units for each in signed_in.overrides(decision_id)] == [700, 15000]


class _Desk(SharedClient):
    """A console's connection for one person. A call to record an override is delayed until something else has happened."""

    def __init__(self, signed_in: SignedIn, person: str, before_recording: Callable[[], object]) -> None:
        class DelayedClient(Client):
            def record_override(self, *override: Any, **fields: Any) -> credit_pb2.Override:
                before_recording()
                return super().record_override(*override, **fields)

        credentials = ClientCredentials(signed_in.ca, token=signed_in.token(person))
        super().__init__(DelayedClient(signed_in.address, credentials=credentials))
        self._person = person

    def person(self, request: Request) -> str:
        del request
        return self._person


def open_desk(signed_in: SignedIn, person: str, before_recording: Callable[[], object]) -> Starlette:
    """Return a console in this process, see `_Desk`."""
    return create_app(_Desk(signed_in, person, before_recording), None, ["localhost"])


def post_form(desk: Starlette, path: str, **fields: str) -> Response:
    """Return the answer of a console in this process to a form."""
    return TestClient(desk, base_url="http://localhost", follow_redirects=False).post(path, data=fields)


def wait_for_agreement(desk: Starlette, proposal: ProposedOverride) -> str:
    """Add an override that waits in a console; return the path for the second person."""
    return f"/overrides/{desk.state.proposals.add(proposal)}"


def record_newer(signed_in: SignedIn, decision_id: str) -> None:
    """Record an override as somebody who does not use this console."""
    with signed_in.client(WITH_SLASH) as client:
        client.record_override(
            decision_id,
            credit_pb2.DECISION_APPROVE_REDUCED,
            granted_amount=Amount.parse("800EUR"),
            reason_code="NEW_INFORMATION",
            user_id="u20",
            user_role="CREDIT_MANAGER",
            authority_limit=Amount.parse("40000EUR"),
        )


def waiting_override(decision_id: str) -> ProposedOverride:
    """Return an override to which a second person must agree, filled in when the decision had no override."""
    return ProposedOverride(
        decision_id=decision_id,
        decision=credit_pb2.DECISION_APPROVE_REDUCED,
        granted_amount=Amount.parse("15000EUR"),
        reason_code="NEW_INFORMATION",
        user_id=FIRST,
        user_role="CREDIT_MANAGER",
        authority_limit=Amount.parse("40000EUR"),
        second_user_id="",
        comment="",
        request_id=str(uuid.uuid4()),
        newest_override_id="",
    )


def test_a_proposal_ends_when_another_override_is_recorded_while_the_second_person_agrees(
    signed_in: SignedIn,
) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    desk = open_desk(signed_in, SECOND, lambda: record_newer(signed_in, decision_id))
    page = post_form(desk, wait_for_agreement(desk, waiting_override(decision_id)))

    (newer,) = signed_in.overrides(decision_id)
    assert newer.granted_amount.units == 800
    assert (page.status_code, "I agree" in page.text) == (409, False)
    assert "decision was overridden since this override was filled in" in text_of(page.text)
    assert f"override {newer.override_id}" in text_of(page.text)  # the history


@pytest.mark.parametrize("granted", ["15000", "800"])  # the server rejects 800 for a second reason too
def test_an_override_that_another_one_overtakes_comes_back_with_the_newer_one(
    signed_in: SignedIn, granted: str
) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    desk = open_desk(signed_in, FIRST, lambda: record_newer(signed_in, decision_id))
    fields = BIG | {"granted_amount": granted, "newest_override_id": "", "step": "record"}
    page = post_form(desk, f"/decisions/{decision_id}/override", **fields)

    (newer,) = signed_in.overrides(decision_id)
    assert page.status_code == 400
    assert "was overridden since this override was filled in" in text_of(page.text)
    assert ("changes nothing" in text_of(page.text)) == (granted == "800")
    assert f"override {newer.override_id}" in text_of(page.text)
    assert hidden_fields(page.text)["newest_override_id"] == newer.override_id


def test_an_invalid_field_does_not_hide_that_the_decision_was_overridden_since(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    record_newer(signed_in, decision_id)
    for step in ("review", "record"):
        page = signed_in.browser(FIRST).post(
            f"/decisions/{decision_id}/override", **BIG | {"decision": "", "authority_limit": "x"}, step=step
        )
        assert "decision is required; was overridden since this override was filled in" in text_of(page.html)
        assert "authority limit must be an amount" in text_of(page.html)


def test_a_second_click_of_the_second_person_is_answered_like_the_first(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    desk = open_desk(signed_in, SECOND, lambda: None)
    waiting = waiting_override(decision_id)
    for _ in range(2):  # the second click finds the proposal before the first one has removed it
        answer = post_form(desk, wait_for_agreement(desk, waiting))
        assert (answer.status_code, answer.headers.get("location")) == (303, f"/decisions/{decision_id}")
    (found,) = signed_in.overrides(decision_id)
    assert (found.user_id, found.second_user_id) == (FIRST, SECOND)


def test_a_second_click_adds_no_second_proposal_and_other_content_changes_no_proposal(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    first, second = signed_in.browser(FIRST), signed_in.browser(SECOND)
    fields = confirm_override(first, decision_id)
    link = propose(first, decision_id, fields)

    assert propose(first, decision_id, fields) == link
    assert propose(first, decision_id, fields | {"granted_amount": "16000EUR"}) != link
    assert "15,000" in text_of(second.get(link).html)


def test_a_person_whose_id_does_not_fit_into_an_override_is_told_why(signed_in: SignedIn) -> None:
    decision_id = signed_in.new_decision("20000EUR")
    link = propose(signed_in.browser(FIRST), decision_id, confirm_override(signed_in.browser(FIRST), decision_id))
    for person in (WITH_SLASH, LONG):
        browser = signed_in.browser(person)
        for page, field in (
            (browser.post(f"/decisions/{decision_id}/override", **BIG, step="record"), "user id"),
            (browser.post(link), "second user id"),
        ):
            problem = f"{field} must have 1 to 64 letters, digits and . _ : @ -, and you are signed in as '{person}'"
            assert (page.status, problem in text_of(page.html)) == (400, True), text_of(page.html)
    assert signed_in.overrides(decision_id) == []


def test_a_proposal_that_has_ended_is_explained(signed_in: SignedIn) -> None:
    browser = signed_in.browser(SECOND)
    for page in (browser.get("/overrides/unknown"), browser.post("/overrides/unknown")):
        assert (page.status, "fill in its form again" in text_of(page.html)) == (404, True)
