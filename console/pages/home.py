"""The first page, and the page of the record log."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from console.connections import listed_models
from console.log_key import LogKey, choose_log_key
from console.pages.form import Form, FormInvalid
from console.rendering import render_page
from grounds.audit.v1 import audit_pb2
from grounds.model.v1 import model_pb2
from grounds_client import CallFailed, Client
from grounds_client.evidence.checkpoint_checks import check_checkpoints
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.markup import Markup
from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_history import trace_keys

_Answer = TypeVar("_Answer")
COMPARISON = Markup('<a href="/log#comparison">on the page of the record log</a>')


@dataclass(frozen=True, slots=True)
class _CheckedLog:
    """The newest checkpoint of the record log, as checked with a key.

    Attributes:
        key: The key, and where it comes from; None if no key was given and the server reports no valid key.
        checkpoint: The checkpoint; None if it cannot be verified.
        problem: Why the checkpoint cannot be verified; "" if it was verified.
    """

    key: LogKey | None
    checkpoint: Checkpoint | None
    problem: str


def show_home(request: Request, client: Client) -> Response:
    """Show what serves each market, the newest scoring runs, and the size of the record log.

    A part that the person may not read is left out, and the page states which.
    """
    missing: list[str] = []

    def read(part: str, call: Callable[[], _Answer]) -> _Answer | None:
        try:
            return call()
        except CallFailed as error:
            missing.append(f"{part}: {error.message}")
            return None

    runs = read("scoring runs", client.list_churn_runs) or []
    head = read("record log", client.get_checkpoint)
    log = None if head is None else _verify(request, head)
    serving = [each for each in listed_models(request) if each.state == model_pb2.MODEL_STATE_SERVING]
    return render_page(
        request,
        "home.html",
        "Grounds",
        serving=serving,
        runs=runs,
        now=dt.datetime.now(dt.UTC),
        log=log,
        missing=missing,
    )


def show_record_log(request: Request, client: Client) -> Response:
    """Show the newest checkpoint, whether the log's key signed it, and the calls that were refused."""
    return _show_log(request, client, Form(request), None)


def compare_saved_checkpoint(request: Request, client: Client) -> Response:
    """Show the record log, and whether it only grew since the checkpoint that a person pasted."""
    form = Form(request)
    saved = form.text("saved").replace("\r\n", "\n")
    if not saved:
        raise FormInvalid(
            ["saved: is required; paste a checkpoint, the newest of which is on the page of the record log"]
        )
    return _show_log(request, client, form, f"{saved}\n")


def _show_log(request: Request, client: Client, form: Form, saved: str | None) -> Response:
    """Return the page of the record log, with the checks of a saved checkpoint if there is one."""
    start, end = form.day("start"), form.end_of_day("end")
    form.check()
    head = client.get_checkpoint()
    log = _verify(request, head)
    checks: list[EvidenceCheck] = []
    if saved is not None and log.key is not None:
        checks = list(check_checkpoints(client, head, [saved], log.key.key, given=log.key.is_given))
    return render_page(
        request,
        "log.html",
        "Record log",
        log=log,
        note=head.checkpoint,
        checks=checks,
        saved=saved or "",
        refusals=client.count_refused_calls(start, end),
        form=form,
    )


def _verify(request: Request, head: audit_pb2.GetCheckpointResponse) -> _CheckedLog:
    """Verify the newest checkpoint; return it, or the reason why it is invalid, with the key that was used."""
    key: LogKey | None = None
    try:
        key = choose_log_key(request, head.verifier_key)
        return _CheckedLog(key, open_checkpoint(head.checkpoint, trace_keys(key.key, head.key_rotations)), "")
    except RecordError as error:
        return _CheckedLog(key, None, str(error))
