"""A real Chromium opens the pages: accessible, without a request to another origin, at three widths, and in print."""

import pytest
from playwright.sync_api import Browser, Page

from tests.console.chromium import check_page, open_page
from tests.console.conftest import Pages


def read_evidence(page: Page, pages: Pages) -> None:
    """Find a decision in the list, state a purpose, and read its evidence."""
    page.goto(pages.url)
    check_page(page)
    page.get_by_role("link", name="Decisions", exact=True).click()
    check_page(page)
    page.get_by_role("link", name=pages.decision_ids[0]).click()
    check_page(page)
    page.get_by_label("Purpose").fill("Annual review 2026, case 17")
    page.get_by_role("button", name="Continue").click()
    check_page(page)
    assert page.get_by_text("Is the record unchanged?").is_visible()
    assert page.locator(".holds").count() >= 6
    assert len(page.pdf(format="A4")) > 20_000


def draw_sample(page: Page) -> None:
    """Draw a sample in groups by outcome."""
    page.get_by_role("link", name="Sample").click()
    page.get_by_label("Seed").fill("27182818")
    page.get_by_label("decision", exact=True).check()
    page.get_by_role("button", name="Draw").click()
    check_page(page)
    assert page.locator("main ol a").count() == 3


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_a_person_finds_reads_samples_and_prints_without_a_barrier(
    chromium: Browser, pages: Pages, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)

    read_evidence(page, pages)
    draw_sample(page)
    for path in (
        "/what-if?market=DE&customer=C00000&amount=1000EUR",
        "/customer-decisions?market=DE&customer=C00000",
        "/models",
        "/policy",
        "/activations",
        "/log",
        "/churn/DE",
    ):
        page.goto(pages.url + path)
        check_page(page)
    page.goto(f"{pages.url}/log")
    page.get_by_label("Saved checkpoint").fill(page.locator("pre").inner_text())
    page.get_by_role("button", name="Compare").click()
    check_page(page)
    assert (page.locator(".checks .holds").count(), page.locator(".fails").count()) == (3, 0)
    page.goto(f"{pages.url}/churn/DE")
    page.locator("tbody a").first.click()
    check_page(page)
    page.get_by_role("link", name="Evidence, proof and replay").click()
    check_page(page)

    assert problems == []


def test_a_barrier_is_found(chromium: Browser, pages: Pages) -> None:
    """The barrier is an image without a text, and a text that is wider than the window."""
    page = chromium.new_page()
    page.goto(pages.url)
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    with pytest.raises(AssertionError, match="image-alt"):
        check_page(page)
    page.goto(pages.url)
    page.evaluate("document.querySelector('h1').style.width = '9000px'")
    with pytest.raises(AssertionError):
        check_page(page)


def test_the_pages_are_used_by_keyboard_alone_and_without_scripts(chromium: Browser, pages: Pages) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the content
    page.keyboard.press("Tab")
    page.keyboard.type(pages.decision_ids[1])
    page.keyboard.press("Enter")

    page.wait_for_url("**/purpose**")
    page.get_by_label("Purpose").focus()
    page.keyboard.type("Annual review 2026, case 18")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/evidence/{pages.decision_ids[1]}")


def test_a_page_of_a_dark_screen_is_printed_in_the_colors_of_paper(chromium: Browser, pages: Pages) -> None:
    printed = []
    for scheme in ("light", "dark"):
        page = open_page(chromium, 1280, scheme, [])
        page.goto(f"{pages.url}/decisions?market=DE")
        page.emulate_media(media="print")
        style = "getComputedStyle(document.documentElement)"
        names = ("ink", "soft", "line", "tint", "paper", "link", "bad", "risk", "safe", "alert")
        printed.append({name: page.evaluate(f"{style}.getPropertyValue('--{name}')") for name in names})
        check_page(page)  # also that every text has enough contrast
    assert printed[0] == printed[1]
    assert all(printed[0].values())
