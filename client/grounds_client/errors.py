"""What a call can come back with instead of an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with one field of the request."""

    field: str
    problem: str
    kind: str


class CallFailed(Exception):
    """The server refused, or could not be reached.

    Attributes:
        code: Who must act: INVALID_ARGUMENT is the caller, UNAVAILABLE passes by itself.
        reason: What happened; branch on this. "" where no server of ours answered.
        message: For people.
        problems: What is wrong, field by field.
        metadata: The dynamic parts of the message.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        problems: tuple[FieldProblem, ...] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code, self.reason, self.message = code, reason, message
        self.problems, self.metadata = problems, dict(metadata or {})


class PullRefused(Exception):
    """A pull cannot be made as it was asked for; the message says what to do."""


def call_failed(error: grpc.RpcError) -> CallFailed:
    """Read everything that a failed call says."""
    call = cast("grpc.Call", error)  # what gRPC raises from a call is both
    code, message = call.code(), call.details() or ""
    reason, metadata, problems = "", {}, []
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            problems = [FieldProblem(v.field, v.description, v.reason) for v in bad.field_violations]
    return CallFailed(code, reason, message, tuple(problems), metadata)
