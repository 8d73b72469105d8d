"""The pages state where the key that checks the record log comes from, and what a check with it proves."""

from grounds_client import Client
from grounds_record.note import SigningKey
from tests.console.browsing import Browser
from tests.console.conftest import Pages
from tests.console.serving import open_console
from tests.console.test_pages import PURPOSE, text_of

AGREES = "proves only that the server agrees with itself"


def evidence_text(browser: Browser, decision_id: str) -> str:
    """Return the text of a page of evidence."""
    return text_of(browser.post("/purpose", purpose=PURPOSE, next=f"/evidence/{decision_id}").html)


def test_a_key_that_the_server_itself_reports_is_never_called_the_key_of_the_log(pages: Pages) -> None:
    browser = Browser(pages.url)
    first, log = text_of(browser.get("/").html), text_of(browser.get("/log").html)
    evidence = evidence_text(browser, pages.decision_ids[0])

    for text in (first, log, evidence):
        assert "signed by the key that this server reports" in text
        assert "signed by the log's key" not in text
    for text in (log, evidence):
        assert AGREES in text
        assert "start the console with --log-key" in text


def test_a_key_that_was_given_is_named_as_such(pages: Pages) -> None:
    with Client(pages.address) as client:
        key = client.get_checkpoint().verifier_key
    with open_console("--address", pages.address, "--log-key", key) as url:
        browser = Browser(url)
        first, log = text_of(browser.get("/").html), text_of(browser.get("/log").html)
        evidence = evidence_text(browser, pages.decision_ids[0])

    for text in (first, log, evidence):
        assert "signed by the log's key" in text
        assert AGREES not in text
    for text in (log, evidence):
        assert f"{key}, as given to this console with --log-key" in text


def test_the_first_page_opens_with_an_alarm_if_the_signature_is_invalid(pages: Pages) -> None:
    with Client(pages.address) as client:
        origin = client.get_checkpoint().checkpoint.split("\n")[0]
    foreign = SigningKey(origin, b"\x07" * 32).verifier().text()
    with open_console("--address", pages.address, "--log-key", foreign) as url:
        first, log = Browser(url).get("/").html, Browser(url).get("/log").html

    assert text_of(first.partition("</h1>")[2]).startswith("The record log cannot be trusted")
    assert "records, signed by" not in text_of(first)
    assert "The checkpoint has no valid signature" in text_of(log)
    assert "alarm" not in Browser(pages.url).get("/").html


def test_a_saved_checkpoint_shows_whether_the_log_only_grew_since(pages: Pages) -> None:
    with Client(pages.address) as client:
        head = client.get_checkpoint()
        client.get_evidence(pages.decision_ids[0], PURPOSE)  # adds a record
    saved, size = head.checkpoint, int(head.checkpoint.split("\n")[1])
    changed = saved.replace(f"\n{size}\n", f"\n{size - 1}\n")
    with open_console("--address", pages.address, "--log-key", head.verifier_key) as url:
        browser = Browser(url)
        assert "Saved checkpoint" in browser.get("/log").html
        grown = browser.post("/log", saved=saved.replace("\n", "\r\n"))  # as a browser sends it
        refused = [browser.post("/log", saved=text) for text in (changed, "<b>no checkpoint</b>")]
        empty = browser.post("/log", saved=" ")

    claim = f"the first {size:,} records are the ones that you saved the checkpoint of"
    assert (claim in text_of(grown.html), 'class="fails"' in grown.html) == (True, False)
    assert f"the checkpoint that you saved, of {size:,} records, is signed by the log's key" in text_of(grown.html)
    for page in refused:
        assert (page.html.count('class="fails"'), claim in text_of(page.html)) == (1, False)
    assert "<b>" not in refused[1].html
    assert (empty.status, "saved: is required" in empty.html) == (400, True)
