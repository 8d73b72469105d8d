"""An auditor marks decisions: each entry is kept for good, for that person only, and a changed file is noticed."""

import hashlib
import html
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium

from console.working_papers import PapersRefused, WorkingPapers
from grounds_client import Client
from tests.conftest import ROOT
from tests.console.browsing import Browser
from tests.console.chromium import check_page, open_page
from tests.console.conftest import SCRIPT, Pages
from tests.console.serving import open_console
from tests.console.test_pages import PURPOSE, text_of

COMMENT = f"{SCRIPT}\nsecond line, „quoted“"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("papers") / "papers"


@pytest.fixture(scope="module")
def url(pages: Pages, folder: Path) -> Iterator[str]:
    """Serve a console that keeps working papers."""
    with open_console("--address", pages.address, "--papers", str(folder)) as url:
        yield url


def digest(entry: dict[str, Any]) -> str:
    """Return the digest of an exported entry, by the rule that the export states."""
    kept = {name: value for name, value in entry.items() if name != "sha256"}
    return hashlib.sha256(
        json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_an_auditor_marks_a_decision_in_the_browser_and_exports_the_papers(
    chromium: Chromium, pages: Pages, url: str, width: int, scheme: str
) -> None:
    problems: list[str] = []
    page = open_page(chromium, width, scheme, problems)
    page.goto(f"{url}/evidence/{pages.decision_ids[0]}")
    page.get_by_label("Purpose").fill(PURPOSE)
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("Mark this decision in your working papers").click()
    check_page(page)
    page.get_by_label("Mark", exact=True).select_option(label="Exception")
    page.get_by_label("Comment").fill(COMMENT)
    page.get_by_role("button", name="Add to the working papers").click()
    page.wait_for_url("**/working-papers#entry-*")
    check_page(page)

    row = page.locator("tbody tr").first
    assert "Exception" in row.inner_text()
    assert COMMENT in row.locator(".comment").inner_text()
    assert PURPOSE in row.inner_text()
    with page.expect_download() as saved:
        page.get_by_role("link", name="HTML").click()
    text = saved.value.path().read_text()
    assert html.escape(SCRIPT) in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert problems == []


def test_an_export_names_every_reading_with_purpose_record_and_checkpoint(pages: Pages, url: str) -> None:
    browser, decision_id = Browser(url), pages.decision_ids[1]
    browser.post("/purpose", purpose=PURPOSE, next=f"/evidence/{decision_id}")
    browser.post(f"/evidence/{decision_id}/mark", mark="NO_EXCEPTION", comment=COMMENT)
    exported = json.loads(browser.get("/working-papers/export.json").html)
    reading, mark = exported["entries"][-2:]
    with Client(pages.address) as client:
        evidence = client.get_evidence(decision_id, PURPOSE)
        stored = evidence.proof.record
        read_record = next(client.list_records(reading["reading_index"], reading["reading_index"] + 1))

    assert (reading["kind"], reading["decision_id"], reading["purpose"]) == ("READING", decision_id, PURPOSE)
    assert reading["record_index"] == stored.index
    # The hash of a leaf of RFC 6962, of the header's length, the header and the ciphertext; see record/README.md.
    leaf = len(stored.header).to_bytes(4, "big") + stored.header + stored.ciphertext
    assert reading["record_sha256"] == hashlib.sha256(b"\0" + leaf).hexdigest()
    assert json.loads(read_record.header)["record_id"] == reading["reading_id"]
    assert int(reading["checkpoint"].split("\n")[1]) > stored.index
    assert (mark["mark"], mark["comment"], mark["reading_number"]) == ("NO_EXCEPTION", COMMENT, reading["number"])
    previous = "0" * 64
    for entry in exported["entries"]:
        assert entry["previous_sha256"] == previous
        assert digest(entry) == entry["sha256"]
        previous = entry["sha256"]


def test_a_reading_of_a_churn_risk_is_entered_without_its_customer(pages: Pages, url: str) -> None:
    with Client(pages.address) as client:
        risk = next(client.list_churn_risks("DE"))
        browser = Browser(url)
        browser.post("/purpose", purpose=PURPOSE, next="/models")
        shown = browser.get(f"/churn/DE/evidence?run={risk.run_id}&customer={risk.customer.customer_id}")
        entry = json.loads(browser.get("/working-papers/export.json").html)["entries"][-1]
        read_record = next(client.list_records(entry["reading_index"], entry["reading_index"] + 1))
        proof = client.get_inclusion_proof(json.loads(stored_header(client, entry["record_index"]))["record_id"])

    assert (shown.status, entry["kind"], entry["purpose"]) == (200, "READING", PURPOSE)
    assert (entry["run_id"], entry["market"]) == (risk.run_id, "DE")
    assert risk.customer.customer_id not in json.dumps(entry)
    assert json.loads(read_record.header)["record_id"] == entry["reading_id"]
    leaf = len(proof.record.header).to_bytes(4, "big") + proof.record.header + proof.record.ciphertext
    assert entry["record_sha256"] == hashlib.sha256(b"\0" + leaf).hexdigest()
    for path in ("/working-papers", "/working-papers/export.html"):
        assert f"churn run {risk.run_id} of DE" in text_of(browser.get(path).html)


def stored_header(client: Client, index: int) -> bytes:
    """Return the header of a record of the log."""
    return next(client.list_records(index, index + 1)).header


def test_a_mark_needs_a_reading_and_a_known_mark(pages: Pages, url: str) -> None:
    browser, decision_id = Browser(url), pages.decision_ids[2]
    unread = browser.post(f"/evidence/{decision_id}/mark", mark="EXCEPTION", comment="")
    unknown = browser.post(f"/evidence/{decision_id}/mark", mark="GOOD", comment="x" * 4001)
    foreign = Browser(url, sec_fetch_site="cross-site").post(f"/evidence/{decision_id}/mark", mark="EXCEPTION")

    assert (unread.status, "you have not read the evidence of this decision" in unread.html) == (400, True)
    assert "mark: must be one of NO_EXCEPTION, EXCEPTION, FOLLOW_UP, got 'GOOD'" in text_of(unknown.html)
    assert "comment: must have at most 4,000 characters, got 4,001" in text_of(unknown.html)
    assert foreign.status == 403


def test_a_console_without_papers_says_how_to_keep_them(pages: Pages) -> None:
    text = text_of(Browser(pages.url).get("/working-papers").html)
    assert "Ask the operator to start it with --papers" in text
    assert Browser(pages.url).get("/working-papers/export.json").status == 400


def test_each_person_has_one_file_that_only_the_owner_can_read(tmp_path: Path) -> None:
    papers = WorkingPapers(tmp_path / "papers")
    for person in ("u17", "../u18", "ü" * 300):
        papers.append(person, "READING", purpose=person)
    files = list((tmp_path / "papers").iterdir())

    assert [len(papers.read(person)) for person in ("u17", "../u18", "ü" * 300, "u19")] == [1, 1, 1, 0]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE((tmp_path / "papers").stat().st_mode) == 0o700
    assert sorted(tmp_path.iterdir()) == [tmp_path / "papers"]
    (tmp_path / "papers").chmod(0o750)
    with pytest.raises(PapersRefused, match="chmod 700"):
        WorkingPapers(tmp_path / "papers")


def test_every_changed_moved_or_removed_entry_is_noticed(tmp_path: Path) -> None:
    papers = WorkingPapers(tmp_path / "papers")
    for number in range(4):
        papers.append("u17", "MARK", comment=f"comment {number}")
    (file,) = (tmp_path / "papers").iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    damaged = [
        [*lines[:1], lines[1].replace(b"comment 1", b"comment 9"), *lines[2:]],
        [lines[0], lines[2], lines[1], lines[3]],
        [lines[0], *lines[2:]],
        lines[1:],
        [lines[0], b"nonsense\n", *lines[2:]],
        [line.replace(b"u17", b"u18") for line in lines],
    ]
    for each in damaged:
        file.write_bytes(b"".join(each))
        with pytest.raises(PapersRefused, match="was changed, moved or removed"):
            papers.read("u17")
    for last in (b"nonsense\n", lines[3].replace(b"u17", b"u18"), b"{}\n"):
        file.write_bytes(b"".join(lines[:3]) + last)
        with pytest.raises(PapersRefused, match="the last entry of the working papers was changed"):
            papers.append("u17", "MARK", comment="one more")
        assert file.read_bytes().endswith(last)
    file.write_bytes(b"".join(lines) + lines[0][:20])  # the process died while it wrote
    assert len(papers.read("u17")) == 4
    papers.append("u17", "MARK", comment="one more")
    assert [each.values["number"] for each in papers.read("u17")] == [1, 2, 3, 4, 5]


def test_an_append_after_a_damaged_entry_does_not_hide_the_damage(tmp_path: Path) -> None:
    papers = WorkingPapers(tmp_path / "papers")
    for number in range(4):
        papers.append("u17", "MARK", comment=f"comment {number}")
    (file,) = (tmp_path / "papers").iterdir()
    file.write_bytes(file.read_bytes().replace(b"comment 1", b"comment 9"))
    papers.append("u17", "MARK", comment="one more")
    with pytest.raises(PapersRefused, match="entry 3 of the working papers was changed, moved or removed"):
        papers.read("u17")


def test_an_append_reads_the_end_of_the_file_only(tmp_path: Path) -> None:
    """Measured in bytes that the process read, which do not depend on how busy the machine is."""

    def read_bytes() -> int:
        return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])

    papers, used = WorkingPapers(tmp_path / "papers"), []
    for _ in range(3):
        before = read_bytes()
        papers.append("u17", "MARK", comment="ü" * 4000)
        used.append(read_bytes() - before)
        for _ in range(200):
            papers.append("u17", "MARK", comment="ü" * 4000)
    assert used[2] - used[1] < 10_000  # the file has 1.6 million bytes more
    assert [each.values["number"] for each in papers.read("u17")] == list(range(1, 604))


def test_an_entry_that_is_longer_than_one_reading_is_continued(tmp_path: Path) -> None:
    papers = WorkingPapers(tmp_path / "papers")
    lengths = (70_000, 65_536, 1, 65_000, 140_000, 10)
    for length in lengths:
        papers.append("u17", "MARK", comment="x" * length)
    assert [len(each.values["comment"]) for each in papers.read("u17")] == list(lengths)


SYNCS = """
import os, sys
from pathlib import Path
from console.working_papers import WorkingPapers
fsync = os.fsync
def named_fsync(descriptor):
    print(os.readlink(f"/proc/self/fd/{descriptor}"))
    fsync(descriptor)
os.fsync = named_fsync
papers = WorkingPapers(Path(sys.argv[1]))
for _ in range(2): papers.append('u17', 'MARK', comment="")
"""


def test_the_first_entry_of_a_person_is_as_durable_as_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "papers"
    done = subprocess.run(
        [sys.executable, "-c", SYNCS, str(folder)], cwd=ROOT, env=dict(os.environ), capture_output=True, check=True
    )
    (file,) = folder.iterdir()
    assert done.stdout.decode().split() == [str(each) for each in (tmp_path / "new", tmp_path, folder, file, file)]


def test_the_list_of_entries_is_shown_in_pages(url: str, folder: Path) -> None:
    papers, browser = WorkingPapers(folder), Browser(url)
    before = len(papers.read("local"))
    for number in range(250):
        papers.append("local", "MARK", decision_id="d", mark="EXCEPTION", comment=f"comment {number}", purpose="p")
    path, shown = "/working-papers", list[int]()
    while path:
        page = browser.get(path)
        found = [int(each) for each in re.findall(r'<tr id="entry-(\d+)"', page.html)]
        assert 0 < len(found) <= 100
        shown += found
        path = "".join(re.findall(r'href="(/working-papers\?newest=\d+)"', page.html))
    assert shown == list(range(before + 250, 0, -1))
    assert len(json.loads(browser.get("/working-papers/export.json").html)["entries"]) == before + 250


def test_two_consoles_append_to_the_same_papers_without_losing_an_entry(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from console.working_papers import WorkingPapers\n"
        "papers = WorkingPapers(Path(sys.argv[1]))\n"
        "for _ in range(50): papers.append('u17', 'MARK', comment=sys.argv[2])\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "papers"), name], cwd=ROOT, env=dict(os.environ)
        )
        for name in ("a", "b")
    ]
    assert [each.wait() for each in started] == [0, 0]
    entries = WorkingPapers(tmp_path / "papers").read("u17")

    assert [each.values["number"] for each in entries] == list(range(1, 101))
    assert sorted(each.values["comment"] for each in entries) == ["a"] * 50 + ["b"] * 50


def test_a_damaged_file_is_reported_in_words(pages: Pages, url: str, folder: Path) -> None:
    browser = Browser(url)
    browser.post("/purpose", purpose=PURPOSE, next=f"/evidence/{pages.decision_ids[0]}")
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(re.sub(b'"number":1,', b'"number":7,', content, count=1))
    try:
        refused = browser.get("/working-papers")
    finally:
        file.write_bytes(content)
    assert (refused.status, "entry 1 of the working papers was changed" in text_of(refused.html)) == (409, True)
