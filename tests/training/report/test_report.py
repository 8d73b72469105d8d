"""report.html is one file that opens offline; every figure has marks, axis names and a caption."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import Released
from tests.small import SPEC, SmallFamily, made_customers, write_small_family

FIGURES = {"roc", "cap", "calibration", "scores", "grades", "shares", "importance", "beeswarm", "shifts"}
CREDIT_FIGURES = FIGURES | {"swaps", "approvals"}
CHURN_FIGURES = FIGURES | {"gain", "lift", "months", "rates"}
DEPENDENCE = {"credit": 6, "churn": 6, "small": 4}
# HTML elements that have no end tag.
EMPTY = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A parsed page: the open elements, the ids, and the text of each element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.drawn: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.figures = 0
        self.captions: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.figures += tag == "figure"
        if tag == "figcaption":
            self.captions.append("")
        if "id" in given:
            self.ids.append(given["id"])
        self.addresses += [value for name, value in given.items() if name in {"src", "href", "xlink:href", "action"}]
        if tag in {"path", "use"} and (given.get("d") or given.get("href")):
            for _, name in self.open:
                self.drawn[name] = self.drawn.get(name, 0) + 1
        if tag not in EMPTY:
            self.open.append((tag, given.get("id", "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        opened, _ = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data
        if any(tag == "figcaption" for tag, _ in self.open):
            self.captions[-1] += data


def text_of(folder: Path) -> str:
    """Return the parsed report of a bundle."""
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", ["credit", "churn", "small"])
def test_every_figure_has_marks_and_names_on_its_axes(family: str, request: pytest.FixtureRequest) -> None:
    folder = (
        request.getfixturevalue("small").bundle_folder
        if family == "small"
        else request.getfixturevalue("released").bundle_folder(family)
    )

    page = Page(text_of(folder))

    names = {found[1] for one in page.ids if (found := re.match(r"(.+)-x-label-0$", one))}
    dependence = {name for name in names if name.startswith("dependence-")}
    assert names - dependence == {"credit": CREDIT_FIGURES, "churn": CHURN_FIGURES, "small": FIGURES}[family]
    assert len(dependence) == DEPENDENCE[family]
    assert page.figures == len(names)
    for name in names:
        assert page.texts[f"{name}-x-label-0"].strip(), name
        marks = [one for one in page.ids if one.startswith(f"{name}-mark-")]
        assert sum(page.drawn.get(mark, 0) for mark in marks) > 0, name
    upright = names - {"importance", "beeswarm", "shifts", "approvals"}  # label lines with feature names
    assert all(page.texts[f"{name}-y-label-0"].strip() for name in upright)


def test_every_figure_has_a_caption_and_ids_are_unique(released: Released) -> None:
    page = Page(text_of(released.bundle_folder("credit")))

    assert all(len(caption) > 40 and caption.endswith(".") for caption in page.captions)
    assert len(page.captions) == page.figures
    assert len(set(page.ids)) == len(page.ids)


@pytest.mark.parametrize("family", ["credit", "churn"])
def test_the_page_refers_to_no_external_address(released: Released, family: str) -> None:
    # matplotlib writes a DOCTYPE, RDF metadata and namespaces, which the report removes.
    text = text_of(released.bundle_folder(family))

    page = Page(text)

    assert "://" not in text
    assert not re.search(r"@import|<script|<link|<iframe|<img|xmlns|url\((?!#)|data:", text)
    assert all(address.startswith("#") for address in page.addresses)
    known = set(page.ids)
    assert all(address[1:] in known for address in page.addresses)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= known


def test_the_first_screen_shows_quality_purpose_limits_and_release_gates(released: Released) -> None:
    text = text_of(released.bundle_folder("credit"))

    first = text[text.index("<header>") : text.index("</header>")]

    assert "79 of 100" in first
    assert "Rank customers who already hold credit" in first
    assert "people who were refused" in first
    assert "12 of 12 passed" in first
    lead, cards = first.split("</p>", 1)
    assert "The model is ahead of WOE scorecard" in lead
    assert "95 % interval" in lead
    assert "AUC" not in cards


def test_the_report_contains_no_customer_ids(released: Released) -> None:
    text = text_of(released.bundle_folder("credit"))

    assert "customer_id" not in text
    assert "400 customers of the hold-out" in text


def test_the_report_prints_on_paper_and_fits_a_telephone(small: SmallFamily) -> None:
    text = text_of(small.bundle_folder)

    assert "@media print" in text
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text


def test_texts_of_a_spec_are_escaped_in_the_report(tmp_path: Path) -> None:
    spec = SPEC.replace('title = "Made customers"', 'title = "<script>alert(1)</script> & Co"')

    family = write_small_family(tmp_path, spec, made_customers(600))

    text = text_of(family.bundle_folder)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in text


def test_the_card_states_limits_release_gates_and_versions(released: Released) -> None:
    card = (released.bundle_folder("credit") / "card.md").read_text()

    for said in (
        "**Not for:**",
        "refused are not among them",
        "| calibration.slope |",
        "master scale tw-2005.1",
        "data SHA-256",
        "does not show how the model ages",
    ):
        assert said in card
