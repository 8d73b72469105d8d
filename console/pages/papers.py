"""The auditor's working papers: the form for a mark, the list, and the exports."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.pages.form import Form, FormInvalid
from console.rendering import render_markup, render_page
from console.working_papers import FORMAT, MARK, MARKS, READING, PaperEntry, WorkingPapers
from grounds.audit.v1 import audit_pb2
from grounds_client import Client
from grounds_client.evidence.markup import Markup, definitions, section, table, tag
from grounds_client.evidence.page import render_page as render_file
from grounds_record.sealed_record import SealedRecord

_COMMENT_LENGTH_MAX = 4000
_ENTRIES_SHOWN = 100
_NUMBER_MAX = 10**9
_UNKNOWN_PERSON = "local"  # as the server names a caller whom it does not identify
_NO_PAPERS = (
    "This console keeps no working papers. Ask the operator to start it with --papers and a folder that only the console's "
    "account can read."
)


def _papers_owner(request: Request) -> str:
    """Return the id of the person to whom the working papers of a request belong."""
    return str(request.state.person) or _UNKNOWN_PERSON


def note_reading(request: Request, evidence: audit_pb2.Evidence, purpose: str) -> Markup | None:
    """Enter a reading of evidence into the working papers; return the form for a mark, or None without working papers.

    The entry contains the digest of the record and the checkpoint that proves it, so a reviewer can compare it with the
    record log.
    """
    entry = _append_reading(request, evidence, purpose, decision_id=evidence.decision_id)
    if entry is None:
        return None
    return render_markup("mark_form.html", decision_id=evidence.decision_id, entry=entry.values, marks=MARKS)


def note_churn_reading(request: Request, evidence: audit_pb2.ChurnEvidence, purpose: str) -> None:
    """Enter a reading of the evidence of a churn risk into the working papers. The entry names the run and no customer."""
    _append_reading(request, evidence, purpose, run_id=evidence.run_id, market=evidence.customer.market)


def _append_reading(
    request: Request, evidence: audit_pb2.Evidence | audit_pb2.ChurnEvidence, purpose: str, **subject: str
) -> PaperEntry | None:
    """Append the entry of a reading, and return it; None without working papers."""
    papers = _papers(request)
    if papers is None:
        return None
    stored = evidence.proof.record
    return papers.append(
        _papers_owner(request),
        READING,
        **subject,
        purpose=purpose,
        reading_id=evidence.reading.record_id,
        reading_index=evidence.reading.index,
        record_index=stored.index,
        record_sha256=SealedRecord(stored.header, stored.ciphertext).leaf_hash().hex(),
        checkpoint=evidence.proof.checkpoint,
    )


def add_mark(request: Request, _client: Client) -> Response:
    """Append a mark with its comment to the working papers, for a decision whose evidence the person has read."""
    papers, owner, decision_id = _papers(request), _papers_owner(request), request.path_params["decision_id"]
    if papers is None:
        raise FormInvalid([_NO_PAPERS])
    form = Form(request)
    mark, comment = form.text("mark"), form.text("comment").replace("\r\n", "\n")
    problems = [] if mark in MARKS else [f"mark: must be one of {', '.join(MARKS)}, got {mark!r}"]
    if len(comment) > _COMMENT_LENGTH_MAX:
        problems.append(f"comment: must have at most {_COMMENT_LENGTH_MAX:,} characters, got {len(comment):,}")
    reading = papers.find_reading(owner, decision_id)
    if reading is None:
        problems.append(f"{decision_id}: you have not read the evidence of this decision; read it first")
    if problems or reading is None:
        raise FormInvalid(problems)
    entry = papers.append(
        owner,
        MARK,
        decision_id=decision_id,
        mark=mark,
        comment=comment,
        purpose=reading.values["purpose"],
        reading_number=reading.values["number"],
    )
    return RedirectResponse(f"/working-papers#entry-{entry.values['number']}", 303)


def show_papers(request: Request, _client: Client) -> Response:
    """Show one page of the person's working papers, the newest entry first."""
    papers, owner, form = _papers(request), _papers_owner(request), Form(request)
    newest = form.number("newest", _NUMBER_MAX, _NUMBER_MAX)
    form.check()
    entries = [] if papers is None else papers.read(owner)
    newest = min(newest, len(entries))  # the first entry has the number 1
    shown = entries[max(0, newest - _ENTRIES_SHOWN) : newest]
    return render_page(
        request,
        "papers.html",
        "Working papers",
        has_papers=papers is not None,
        no_papers=_NO_PAPERS,
        owner=owner,
        count=len(entries),
        newest_sha256=entries[-1].sha256 if entries else "",
        entries=shown,
        older=shown[0].values["number"] - 1 if shown else 0,
        marks=MARKS,
        subject=_subject,
    )


def export_papers(request: Request, _client: Client) -> Response:
    """Return the person's working papers as a file that needs no console: JSON for programs, or HTML for print."""
    papers, owner = _papers(request), _papers_owner(request)
    if papers is None:
        raise FormInvalid([_NO_PAPERS])
    entries, now = papers.read(owner), f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    name, kind = f"working-papers-{now[:10]}", request.path_params["kind"]
    if kind == "json":
        content = json.dumps(_export(owner, now, entries), indent=1, ensure_ascii=False)
        return _download(content, "application/json", f"{name}.json")
    return _download(
        render_file(f"Working papers of {owner}", _parts(owner, now, entries)), "text/html", f"{name}.html"
    )


def _papers(request: Request) -> WorkingPapers | None:
    """Return the working papers of the console; None if it keeps none."""
    found: WorkingPapers | None = request.app.state.papers
    return found


def _export(owner: str, now: str, entries: list[PaperEntry]) -> dict[str, Any]:
    """Return the working papers for JSON. The digests are those of the entries as kept, see `digest_rule`."""
    return {
        "format": FORMAT,
        "person": owner,
        "exported": now,
        "digest_rule": "sha256 = SHA-256 of the entry as UTF-8 JSON with sorted keys, without spaces between them, and "
        "without sha256 itself; previous_sha256 is that of the entry before, 64 zeros for the first",
        "entries": [{**each.values, "sha256": each.sha256} for each in entries],
    }


def _parts(owner: str, now: str, entries: list[PaperEntry]) -> Iterator[Markup]:
    """Yield the parts of the page that is exported."""
    newest = entries[-1].sha256 if entries else "none"
    facts = [
        ("person", owner),
        ("exported", now),
        ("entries", f"{len(entries):,}"),
        ("SHA-256 of the newest entry", newest),
    ]
    yield definitions(facts)
    purposes = list(dict.fromkeys(str(each.values["purpose"]) for each in entries))
    for purpose in purposes:
        chosen = [each.values for each in entries if each.values["purpose"] == purpose]
        rows = [
            (
                str(each["number"]),
                each["time"],
                _subject(each),
                MARKS.get(each.get("mark", ""), "read"),
                each.get("comment", f"record {each.get('record_index')}, SHA-256 {each.get('record_sha256')}"),
            )
            for each in chosen
        ]
        yield section(
            purpose, table(("entry", "time (UTC)", "decision or churn run", "mark", "comment or record read"), rows)
        )
    if entries:
        yield section("Newest checkpoint that was read", tag("pre", _newest_checkpoint(entries)))


def _subject(values: Mapping[str, Any]) -> str:
    """Return the decision of an entry, or the churn run in which a customer's evidence was read."""
    return str(values.get("decision_id") or f"churn run {values.get('run_id')} of {values.get('market')}")


def _newest_checkpoint(entries: list[PaperEntry]) -> str:
    """Return the checkpoint of the last reading."""
    return next((str(each.values["checkpoint"]) for each in reversed(entries) if "checkpoint" in each.values), "")


def _download(content: str, media_type: str, name: str) -> Response:
    """Return a file that the browser saves."""
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
