"""A page states and answers its query: empty fields, periods, and the return from the form for the purpose."""

import datetime as dt
import html
import re
import urllib.parse

from grounds_client import Amount, Client
from grounds_client.formatting import approvable_text, counterfactual_text, cut_offs_text, recourse_text
from tests.console.browsing import Browser
from tests.console.conftest import Pages
from tests.console.test_pages import PURPOSE, text_of

EVERY_FIELD = "decision_id=&market=DE&decision=&grade=&start=&end=&caller=+&bundle_id="


def query_line(page: str) -> str | None:
    """Return the query that a page states for print."""
    found = re.search(r'<p class="query">(.*?)</p>', page, re.DOTALL)
    return None if found is None else text_of(found[1])


def test_a_page_states_the_fields_of_its_query_for_print_and_no_empty_ones(pages: Pages) -> None:
    browser = Browser(pages.url)

    assert query_line(browser.get(f"/decisions?{EVERY_FIELD}").html) == "Query: market DE"
    assert query_line(browser.get("/decisions?market=DE&market=").html) == "Query: market DE"
    assert query_line(browser.get("/decisions?market=&decision=").html) is None
    assert query_line(browser.get("/policy?product=STANDARD&market=DE").html) == "Query: product STANDARD; market DE"
    style = browser.get("/static/console.css").html
    assert ".query { display: block; }" in style.partition("@media print")[2]


def test_the_last_day_of_a_period_belongs_to_it(pages: Pages) -> None:
    with Client(pages.address) as client:
        time = client.get_credit_decision(pages.decision_ids[0]).credit_decision.record_ref.decide_time.ToDatetime()
    day, before = f"{time:%Y-%m-%d}", f"{time - dt.timedelta(days=1):%Y-%m-%d}"
    browser = Browser(pages.url)

    assert pages.decision_ids[0] in browser.get(f"/decisions?start={day}&end={day}").html
    assert pages.decision_ids[0] not in browser.get(f"/decisions?end={before}").html
    assert "3 decisions among" in text_of(browser.get(f"/sample?seed=1&end={day}").html)
    assert browser.get("/log?end=9999-12-30").status == 200
    refused = browser.get("/decisions?end=9999-12-31")
    assert (refused.status, "end: must be a day" in refused.html) == (400, True)


def test_changing_the_purpose_leads_back_to_the_same_page_with_its_query(pages: Pages) -> None:
    browser, path = Browser(pages.url), "/decisions?market=DE&decision=DECLINE"
    browser.post("/purpose", purpose=PURPOSE, next="/")
    link = re.search(r'<a href="(/purpose\?next=[^"]*)">change</a>', browser.get(f"{path}&grade=").html)
    assert link is not None
    form = browser.get(html.unescape(link[1])).html
    wanted = re.search(r'name="next" value="([^"]*)"', form)
    assert wanted is not None
    back = browser.post("/purpose", purpose="Another one", next=html.unescape(wanted[1]))

    assert back.url == pages.url + path
    assert "Another one" in back.html
    assert ">change</a>" not in form


def test_only_the_consoles_own_form_sets_the_purpose(pages: Pages) -> None:
    host = pages.url.removeprefix("http://")
    for headers, status in (
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "https://evil.example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://{host}.example.com"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": f"http://{host}"}, 403),
        (
            {"sec_fetch_site": "same-origin", "origin": "null"},
            200,
        ),  # what Chromium sends because of the page's referrer policy
        ({"origin": f"http://{host}"}, 200),
        ({}, 200),
    ):
        browser = Browser(pages.url, **headers)
        answer = browser.post("/purpose", purpose=PURPOSE, next="/models")
        assert (answer.status, len(browser.cookies)) == (status, int(status == 200)), headers


def test_a_decision_shows_the_approvable_amount_and_the_cut_offs(pages: Pages) -> None:
    with Client(pages.address) as client:
        assessment = client.get_credit_decision(pages.decision_ids[1]).credit_decision.assessment
    text = text_of(Browser(pages.url).get(f"/decisions/{pages.decision_ids[1]}").html)

    assert cut_offs_text(assessment.recommendation) == "approve up to 20%, refer up to 60%"
    assert f"({cut_offs_text(assessment.recommendation)}) {approvable_text(assessment.policy_result)}" in text


def test_a_what_if_states_the_result_of_the_search_also_when_nothing_was_found(pages: Pages) -> None:
    shown = set()
    for turnover in (5_000, 50_000, 500_000):
        with Client(pages.address) as client:
            recourse = client.simulate_credit(
                "DE",
                "C00000",
                Amount.parse("1000EUR"),
                features={"turnover": float(turnover)},
                product="STANDARD",
                counterfactuals=True,
            ).recourse
        query = f"market=DE&customer=C00000&amount=1000EUR&product=STANDARD&set.turnover={turnover}"
        text = text_of(Browser(pages.url).get(f"/what-if?{query}").html)
        for line in (recourse_text(recourse), *map(counterfactual_text, recourse.counterfactuals)):
            assert line in text
        shown.add(bool(recourse.counterfactuals))

    assert False in shown, "every search found a counterfactual"


def test_the_product_is_passed_on(pages: Pages) -> None:
    for path in ("/policy?market=DE&product=LEASING", "/what-if?market=DE&customer=C00000&amount=1EUR&product=LEASING"):
        refused = Browser(pages.url).get(path)
        assert (refused.status, "NO_POLICY" in refused.html) == (409, True), (refused.status, text_of(refused.html))


def test_a_churn_risk_names_the_run_that_it_comes_from(pages: Pages) -> None:
    with Client(pages.address) as client:
        risk = next(client.list_churn_risks("DE"))
    query = urllib.parse.urlencode({"customer": risk.customer.customer_id})
    page = Browser(pages.url).get(f"/churn/DE/customer?{query}").html

    assert f"Scoring run {risk.run_id}" in text_of(page)
    assert f"/churn/DE/evidence?run={risk.run_id}&amp;" in page


def test_an_id_with_reserved_characters_is_refused_and_leads_nowhere_else(pages: Pages) -> None:
    for text in ("a?b=c", "a#b", "../models", "a/b"):
        answer = Browser(pages.url).get(f"/decisions?{urllib.parse.urlencode({'decision_id': text})}")
        assert "Models" not in answer.html.partition("<h1>")[2].partition("</h1>")[0]
        assert answer.status in {200, 404}, text  # 200: the form that asks for the purpose
