"""Replay results: builds their messages, and flattens messages to fields that a replay can compare."""

from collections.abc import Iterator, Sequence
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

WHAT_IF_NOTICE = (
    "NOT EVIDENCE: this result was computed for the replay only; it shows what this bundle would have answered."
)


def missing_features_text(names: Sequence[str]) -> str:
    """Return a sentence about the features of another bundle that were not recorded; "" if there are none."""
    return f"not recorded, so counted as missing: {', '.join(names)}" if names else ""


class ReplayUnavailable(Exception):
    """A replay cannot run, because data that it needs is missing or damaged. The message explains this to a person.

    Attributes:
        reason: The same reason as a code, which programs can evaluate.
    """

    def __init__(self, reason: "ev.UnavailableReason", message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def result(self, mode: ev.ReplayMode) -> ev.ReplayResult:
        """Return the replay result that reports this error."""
        return ev.ReplayResult(mode=mode, unavailable=ev.Unavailable(why=self.reason, detail=str(self)))


def verdict_result(mode: ev.ReplayMode, verdict: ReplayVerdict) -> ev.ReplayResult:
    """Build the replay result of a mode from its verdict."""
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
    """Return the values of all fields that are set, by path, such as assessment.explanation.contributions[3].log_odds.

    Unset fields are left out. Therefore a comparison of two messages also detects a field that only one of them sets.

    Args:
        path: Prefix of all paths; "" for no prefix.
        message: The message to flatten.
    """
    return dict(_message_fields(path, message))


def _message_fields(path: str, message: Message) -> Iterator[tuple[str, Scalar]]:
    """Yield the set fields of a message by field number, and the entries of a map in the order of keys."""
    for field, value in message.ListFields():
        field_path = f"{path}.{field.name}" if path else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value_field = field.message_type.fields_by_name["value"]
            for key in sorted(value):
                yield from _value_fields(f'{field_path}["{key}"]', value_field, value[key])
        elif field.is_repeated:
            for index, element in enumerate(value):
                yield from _value_fields(f"{field_path}[{index}]", field, element)
        else:
            yield from _value_fields(field_path, field, value)


def _value_fields(path: str, field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Scalar]]:
    """Yield a scalar value. For a message, yield its type name and then its fields.

    Because of the type name, an empty message differs from an unset message.
    """
    if field.message_type is not None:
        yield path, field.message_type.name
        yield from _message_fields(path, value)
    elif field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        yield path, str(value) if known is None else known.name
    else:
        yield path, value.hex() if isinstance(value, bytes) else value
