"""The page of results opens in a browser, is accessible, fits on narrow screens and paper, and has the figures of the JSON."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from tests.console.chromium import check_page, open_chromium, open_page
from tests.training.results.run_files import AS_OF, SPEC, Customer, HandMadeRun, write_lines, write_run
from training.__main__ import app

HOSTILE = "<script>document.title='attacked'</script>"
NEXT = AS_OF.replace(month=4)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page and the JSON of two runs in two markets; one market of the second run has not matured."""
    folder = tmp_path_factory.mktemp("page")
    generator = np.random.default_rng(0)
    spec = SPEC.replace("Made bakers", HOSTILE)
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    found, lines = [], {"AT": [], "DE": []}
    for number in range(400):
        market = "AT" if number % 4 == 0 else "DE"
        customer = Customer(f"C{number}", float(generator.beta(1.0, 4.0)) * 0.98 + 0.01, market)
        found.append(customer)
        days = [f"{day} 09:00:00" for day in (AS_OF, NEXT) if generator.random() > (customer.pd or 0.0)]
        lines[market] += [(customer.name, day, 5.0) for day in days]
    anchors = {"AT": ["2025-02-01", "2025-03-12", "2025-04-08"], "DE": ["2025-02-01", "2025-03-12", "2025-04-12"]}
    texts = []
    for market, days in anchors.items():
        anchored = [*lines[market], *(("ANCHOR", day, 1.0) for day in days)]
        texts += (
            write_lines(folder / "part.csv", anchored, market).read_text(encoding="utf-8").splitlines()[bool(texts) :]
        )
    (folder / "log.csv").write_text("\n".join(texts) + "\n", encoding="utf-8")
    made = {"campaign": HOSTILE}
    runs = [write_run(folder / f"{day}.run.parquet", found, HandMadeRun(as_of=day, **made)) for day in (AS_OF, NEXT)]
    contacts = folder / "contacts.csv"
    contacts.write_text("market,customer_id\n" + "".join(f"DE,C{n}\n" for n in range(0, 400, 3)), encoding="utf-8")
    words = [
        "results",
        str(folder / "spec.toml"),
        *map(str, runs),
        "--contacted",
        str(contacts),
        "--html",
        str(folder / "page.html"),
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (folder / "results.json").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    with open_chromium() as started:
        yield started


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_accessible_and_shows_hostile_text_as_text(browser: Browser, written: Path, width: int) -> None:
    problems: list[str] = []
    page = open_page(browser, width, "light", problems)

    page.set_content((written / "page.html").read_text(encoding="utf-8"))

    check_page(page)
    assert problems == []
    assert page.locator("h1").inner_text() == "Results of scoring runs"
    assert HOSTILE in page.locator("header").inner_text()
    assert page.locator("figure svg[role=img]").count() == page.locator("figure").count() > 0


def test_no_table_is_wider_than_a_printed_page(browser: Browser, written: Path) -> None:
    page = open_page(browser, 688, "light", [])  # A4 less its margins, at 96 dots per inch
    page.emulate_media(media="print")

    page.set_content((written / "page.html").read_text(encoding="utf-8"))

    assert page.evaluate("Math.max(...[...document.querySelectorAll('table')].map(each => each.scrollWidth))") <= 688


def test_the_figures_of_the_page_are_those_of_the_document(browser: Browser, written: Path) -> None:
    document = json.loads((written / "results.json").read_text(encoding="utf-8"))
    page = open_page(browser, 1280, "light", [])
    page.set_content((written / "page.html").read_text(encoding="utf-8"))

    text = page.locator("body").inner_text()

    for sentence in document["statement"]:
        assert sentence in text
    rows = [line.split("\t") for line in page.locator("[aria-label='Months.']").inner_text().splitlines()[1:]]
    wanted = [
        (
            month["month"],
            month["market"],
            f"{month['total']['predictions']:,}",
            f"{100 * month['total']['observed']['value']:.1f} %",
            f"{100 * month['effect']['effect']['value']:.1f}",
        )
        for month in document["months"]
    ]
    assert [(row[0], row[1], row[3], row[5], row[7]) for row in rows] == wanted
    assert [month["market"] for month in document["months"]] == ["all", "AT", "DE", "all"]
    assert re.search("Left out: run 2025-04-03, market AT, 100 predictions: not matured", text)
