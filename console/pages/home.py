"""The first page, and the page of the record log."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from console.pages.form import Form
from console.rendering import render_page
from grounds.audit.v1 import audit_pb2
from grounds.model.v1 import model_pb2
from grounds_client import CallFailed, Client
from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_history import trace_keys
from grounds_record.note import VerifierKey, parse_verifier_key

_Answer = TypeVar("_Answer")


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

    models = read("models", client.list_models) or []
    runs = read("scoring runs", client.list_churn_runs) or []
    head = read("record log", client.get_checkpoint)
    checkpoint = None if head is None else _verify(head, _log_key(request, head))[0]
    serving = [each for each in models if each.state == model_pb2.MODEL_STATE_SERVING]
    return render_page(
        request, "home.html", "Grounds", serving=serving, runs=runs, checkpoint=checkpoint, missing=missing
    )


def show_record_log(request: Request, client: Client) -> Response:
    """Show the newest checkpoint, whether the log's key signed it, and the calls that were refused."""
    form = Form(request)
    start, end = form.day("start"), form.day("end")
    form.check()
    head = client.get_checkpoint()
    key = _log_key(request, head)
    checkpoint, problem = _verify(head, key)
    return render_page(
        request,
        "log.html",
        "Record log",
        checkpoint=checkpoint,
        problem=problem,
        note=head.checkpoint,
        key=key.text(),
        is_given=request.app.state.log_key is not None,
        refusals=client.count_refused_calls(start, end),
        form=form,
    )


def _log_key(request: Request, head: audit_pb2.GetCheckpointResponse) -> VerifierKey:
    """Return the key that the operator gave to the console, or else the key that the server reports."""
    key: VerifierKey | None = request.app.state.log_key
    return key or parse_verifier_key(head.verifier_key)


def _verify(head: audit_pb2.GetCheckpointResponse, key: VerifierKey) -> tuple[Checkpoint | None, str]:
    """Return the newest checkpoint and "", or None and why its signature is invalid."""
    try:
        return open_checkpoint(head.checkpoint, trace_keys(key, head.key_rotations)), ""
    except RecordError as error:
        return None, str(error)
