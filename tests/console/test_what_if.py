"""A slider of the What-if page asks the server, as the form does, and the page computes and records nothing."""

import math
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page, Route, expect

from console.pages.slider import feature_sliders
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from grounds_client import Amount, Client
from tests.console.browsing import Browser
from tests.console.chromium import check_page, open_page, watch_page
from tests.console.conftest import Pages

PATH = "/what-if?market=DE&customer=C00000&amount=1000EUR"


def simulated_score(pages: Pages, **values: float) -> int:
    """Return the score that the service answers."""
    with Client(pages.address) as client:
        answer = client.simulate_credit("DE", "C00000", Amount.parse("1000EUR"), features=values)
    return answer.simulated.model_output.score


def open_sliders(page: Page, pages: Pages) -> Locator:
    """Open the page with an assessment; return the slider of the days."""
    page.goto(pages.url + PATH)
    page.locator("summary").first.click()
    slider = page.get_by_label("Slider of days_late")
    expect(slider).to_be_visible()
    return slider


def expect_score(page: Page, score: int) -> None:
    """Wait until the summary and the second assessment show a score."""
    expect(page.locator("#summary")).to_contain_text(f"With these values: {score} points")
    expect(page.locator("#answer section").nth(1)).to_contain_text(f"{score} points")


@pytest.fixture
def checkpoint(pages: Pages) -> Iterator[str]:
    """Return the newest checkpoint, and check that the test recorded nothing."""
    with Client(pages.address) as client:
        before = client.get_checkpoint().checkpoint
        yield before
        assert client.get_checkpoint().checkpoint == before


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_slider_moved_by_keyboard_shows_the_score_of_the_service(
    chromium: Chromium, pages: Pages, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)
    slider = open_sliders(page, pages)
    check_page(page)

    slider.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")

    expect(page.locator("[name='set.days_late']")).to_have_value("364")  # whole days, and the end that the model states
    expect_score(page, simulated_score(pages, days_late=364.0))
    assert simulated_score(pages, days_late=364.0) != simulated_score(pages)
    check_page(page)
    shared = page.url
    assert shared == f"{pages.url}{PATH}&set.days_late=364"
    assert "set.days_late 364" in (page.locator(".query").text_content() or "")  # what a print states
    page.reload()
    expect_score(page, simulated_score(pages, days_late=364.0))
    expect(page.get_by_label("Slider of days_late")).to_have_value("364")
    assert problems == []


@pytest.mark.usefixtures("checkpoint")
def test_without_javascript_the_form_gives_the_same_answer_and_shows_no_slider(
    chromium: Chromium, pages: Pages
) -> None:
    problems: list[str] = []
    page = watch_page(chromium.new_context(java_script_enabled=False), problems)
    page.goto(pages.url + PATH)
    page.locator("summary").first.click()
    assert page.locator("input[type=range]").count() == 2
    assert not any(each.is_visible() for each in page.locator("input[type=range]").all())
    page.get_by_label("days_late, days", exact=True).fill("364")
    page.get_by_role("button", name="Ask").click()

    expect_score(page, simulated_score(pages, days_late=364.0))
    assert problems == []


@pytest.mark.usefixtures("checkpoint")
def test_the_answer_to_the_last_move_is_shown_even_if_an_earlier_one_arrives_later(
    chromium: Chromium, pages: Pages
) -> None:
    page = open_page(chromium, 1280, "light", [])
    slider = open_sliders(page, pages)
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(re.compile(r"set\.days_late"), hold_first)
    slider.focus()
    with page.expect_request(re.compile("set.days_late=365")):
        page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect_score(page, simulated_score(pages, days_late=2.0))
    held[0].continue_()
    page.wait_for_timeout(500)

    expect_score(page, simulated_score(pages, days_late=2.0))
    assert page.url.endswith("set.days_late=2")


@pytest.mark.usefixtures("checkpoint")
def test_an_emptied_field_returns_to_the_known_value(chromium: Chromium, pages: Pages) -> None:
    page = open_page(chromium, 1280, "light", [])
    slider = open_sliders(page, pages)
    known = slider.input_value()
    slider.focus()
    page.keyboard.press("End")
    expect_score(page, simulated_score(pages, days_late=365.0))
    page.get_by_label("days_late, days", exact=True).fill("")
    page.keyboard.press("Tab")

    expect_score(page, simulated_score(pages))
    expect(slider).to_have_value(known)
    assert page.url == pages.url + PATH


@pytest.mark.usefixtures("checkpoint")
def test_a_problem_is_shown_in_the_page_in_place_of_an_answer_to_other_values(chromium: Chromium, pages: Pages) -> None:
    page = open_page(chromium, 400, "light", [])
    slider = open_sliders(page, pages)
    page.get_by_label("days_late, days", exact=True).fill("-5")
    page.keyboard.press("Tab")

    expect(page.get_by_role("alert")).to_contain_text("days_late")
    lines = page.get_by_role("alert").locator("p").all_text_contents()
    assert len(lines) == len(set(lines)), lines
    expect(page.locator("#summary")).to_have_text("No assessment for these values.")
    expect(page.locator("#answer")).to_be_hidden()
    check_page(page)
    page.route(re.compile("what-if"), lambda route: route.abort())
    slider.focus()
    page.keyboard.press("End")
    expect(page.get_by_role("alert")).to_contain_text("The console does not answer")
    page.unroute(re.compile("what-if"))
    page.keyboard.press("ArrowLeft")
    expect_score(page, simulated_score(pages, days_late=364.0))
    expect(page.get_by_role("alert")).to_be_hidden()


def test_only_the_page_with_sliders_may_run_a_script_and_only_the_file_of_the_console(pages: Pages) -> None:
    browser = Browser(pages.url)
    for path in ("/", "/apply", "/decisions", "/nowhere", "/what-if/x", "/static/what_if.js"):
        assert "script-src" not in browser.get(path).headers["content-security-policy"]
    page = browser.get(PATH)
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
    assert re.findall(r"<script[^>]*>[^<]*", page.html) == ['<script src="/static/what_if.js" defer>']
    assert "<script" not in browser.get("/what-if?market=DE").html
    assert re.findall(r"\son\w+=", page.html) == []


def slider_numbers(
    known: float | None, low: float | None = None, high: float | None = None
) -> list[tuple[str, str, str, str]]:
    """Return ends, step and known value of the slider of a feature with a range; empty if there is no slider."""
    value = explain_pb2.FeatureValue() if known is None else explain_pb2.FeatureValue(number=known)
    line = explain_pb2.Contribution(feature="x", value=value)
    assessment = credit_pb2.CreditAssessment(explanation=explain_pb2.Explanation(contributions=[line]))
    feature = model_pb2.Feature(name="x", kind=model_pb2.FEATURE_KIND_NUMBER, min=low, max=high)
    found = feature_sliders([feature], assessment).values()
    return [(each.low, each.high, each.step, each.known) for each in found]


def test_a_slider_has_the_stated_range_and_whole_steps_only_for_whole_numbers() -> None:
    assert slider_numbers(3.0, 0, 365) == [("0", "365", "1", "3")]
    assert slider_numbers(None, -2, 9) == [("-2", "9", "1", "")]
    assert slider_numbers(12_345.0, 0, 1e6) == [("0", "1000000", "1000", "12345")]
    assert slider_numbers(12_345.0, 0, 1_234_567) == [("0", "1234567", "127", "12345")]
    assert slider_numbers(None, 1, 15_485_864) == [("1", "15485864", "1", "")]  # the width is a prime number
    assert slider_numbers(0.0, 0, 1) == [("0", "1", "0.01", "0")]
    assert slider_numbers(0.37, 0, 2) == [("0", "2", "0.01", "0.37")]
    for ends in ((None, None), (0.0, None), (None, 9.0), (3.0, 3.0), (0.0, math.inf)):
        assert slider_numbers(3.0, *ends) == []


@pytest.mark.parametrize(
    ("known", "low", "high"),
    [
        (12_345.0, 0.0, 1_234_567.0),
        (None, 1.0, 15_485_864.0),
        (3.0, 0.0, 365.0),
        (0.5, 0.0, 1_234_567.0),
        (0.1, -0.05, 0.95),
        (0.1, 0.0, 0.1234567),
        (1.0, 1e-30, 9.87),
        (0.0, -1e200, 3e250),
    ],
)
def test_a_slider_reaches_both_ends_of_the_range_in_a_browser(
    chromium: Chromium, known: float | None, low: float, high: float
) -> None:
    ((first, last, step, _),) = slider_numbers(known, low, high)
    page = open_page(chromium, 1280, "light", [])
    page.set_content(f'<input type="range" min="{first}" max="{last}" step="{step}">')
    slider = page.locator("input")
    for key, end in (("End", high), ("Home", low)):
        slider.press(key)
        assert float(slider.input_value()) == end
    slider.press("ArrowRight")
    moved = float(slider.input_value())
    assert low < moved < high
    assert moved.is_integer() or known is None or not all(number.is_integer() for number in (known, low, high))
