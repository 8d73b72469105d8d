"""Errors that the client raises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One invalid field of a request.

    Attributes:
        field: The field's path, such as `features["PAY_0"]`.
        problem: What is wrong and what was expected, in words.
        kind: The kind of problem, for programs, such as OUT_OF_RANGE.
    """

    field: str
    problem: str
    kind: str


class CallFailed(Exception):
    """A call failed: the server rejected it, did not answer in time, or could not be reached.

    Attributes:
        code: The gRPC status. INVALID_ARGUMENT means that the request must change; UNAVAILABLE means that a retry may
            succeed.
        reason: The error's stable name, such as FEATURES_INVALID, for programs to branch on; "" if no Grounds server
            answered.
        message: A sentence for people.
        problems: The invalid fields of the request.
        metadata: The variable parts of the message, by name.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        problems: Sequence[FieldProblem] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code, self.reason, self.message = code, reason, message
        self.problems, self.metadata = tuple(problems), dict(metadata or {})

    @classmethod
    def from_rpc_error(cls, error: grpc.RpcError) -> "CallFailed":
        """Return the exception for an error of gRPC, with the details that the server attached."""
        call = cast("grpc.Call", error)  # the error that a failed call raises is also a grpc.Call
        status = rpc_status.from_call(call) or status_pb2.Status(message=call.details() or "")
        return cls._from_status(call.code(), status)

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> "CallFailed":
        """Return the exception for an error within a batch."""
        return cls._from_status(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status)

    @classmethod
    def _from_status(cls, code: grpc.StatusCode, status: status_pb2.Status) -> "CallFailed":
        """Return the exception for a status with its details."""
        reason, metadata, problems = "", {}, []
        for detail in status.details:
            info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                problems = [
                    FieldProblem(each.field, each.description, each.reason) for each in bad_request.field_violations
                ]
        return cls(code, reason, status.message, problems=problems, metadata=metadata)


class LetterRefused(Exception):
    """A letter cannot be written or printed. The message states every problem."""


class ScoringRefused(Exception):
    """A file cannot be scored; the message states what to do next."""


class PullRefused(Exception):
    """A pull cannot start or continue; the message states what to do next."""


class WitnessRefused(Exception):
    """A witness cannot cosign; the message states what to do next."""
