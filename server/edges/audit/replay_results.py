"""Results of replays as messages, and messages as flat fields that a replay can compare."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from grounds.audit.v1 import evidence_pb2 as ev
from server.decisions.replay_verdict import (
    ReplayMatch,
    ReplayMismatch,
    ReplayRuntimeDiffers,
    ReplayVerdict,
    Scalar,
)

WHAT_IF_NOTICE = "NOT EVIDENCE: no decision was made with this bundle; this is only what it would have answered."


class ReplayUnavailable(Exception):
    """Something that a replay needs is gone.

    Attributes:
        reason: For programs; the message is for people.
    """

    def __init__(self, reason: "ev.UnavailableReason", message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def result(self, mode: ev.ReplayMode) -> ev.ReplayResult:
        """Return the result of a replay that could not be made."""
        return ev.ReplayResult(mode=mode, unavailable=ev.Unavailable(why=self.reason, detail=str(self)))


def verdict_result(mode: ev.ReplayMode, verdict: ReplayVerdict) -> ev.ReplayResult:
    """Build the result with a verdict."""
    result = ev.ReplayResult(mode=mode)
    match verdict:
        case ReplayMatch():
            result.match.compared_count = verdict.compared
        case ReplayMismatch():
            result.mismatch.CopyFrom(
                ev.Mismatch(
                    field=verdict.field,
                    stored=verdict.stored,
                    recomputed=verdict.recomputed,
                    differing_count=verdict.differing,
                )
            )
        case ReplayRuntimeDiffers():
            result.runtime_differs.CopyFrom(
                ev.RuntimeDiffers(
                    pd_distance=verdict.pd_distance,
                    differing_count=verdict.differing,
                    compared_count=verdict.compared,
                )
            )
    return result


def flat_fields(path: str, message: Message) -> dict[str, Scalar]:
    """Return every field that is set, by path, such as assessment.explanation.contributions[3].log_odds.

    A field that is not set has no path: a field that is set on one side only is a difference too.
    """
    return dict(_message_fields(path, message))


def _message_fields(path: str, message: Message) -> Iterator[tuple[str, Scalar]]:
    """Yield the fields of a message by number, the entries of a map by key."""
    for field, value in message.ListFields():
        below = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value_field = field.message_type.fields_by_name["value"]
            for key in sorted(value):
                yield from _value_fields(f'{below}["{key}"]', value_field, value[key])
        elif field.is_repeated:
            for number, element in enumerate(value):
                yield from _value_fields(f"{below}[{number}]", field, element)
        else:
            yield from _value_fields(below, field, value)


def _value_fields(path: str, field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Scalar]]:
    """Yield one value, or the fields of a message and its name, so that an empty message is a field too."""
    if field.message_type is not None:
        yield path, field.message_type.name
        yield from _message_fields(path, value)
    elif field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        yield path, str(value) if known is None else known.name
    else:
        yield path, value.hex() if isinstance(value, bytes) else value
