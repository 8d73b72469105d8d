"""The check of encoded requests accepts every message that an encoder writes, and finds problems at any depth."""

import random
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds.churn.v1 import churn_pb2
from grounds.credit.v1 import credit_pb2
from server.edges.wire_format import find_encoding_problem, shape_of_message
from tests.server.edges.test_authorization import OURS
from tests.server.requests import customer, euros, field, numbers, score_request, simulate_request

REQUESTS = [
    method.input_type for file in OURS for service in file.services_by_name.values() for method in service.methods
]
LARGEST = {
    ("ScoreCreditRequest", "features"): 512,
    ("ScoreCreditRequest", "facts"): 64,
    ("BatchScoreCreditRequest", "requests"): 500,
    ("SimulateCreditRequest", "features"): 512,
    ("SimulateCreditRequest", "facts"): 64,
    ("BatchGetChurnRisksRequest", "customers"): 1000,
    ("GetRangeProofRequest", "kept_sizes"): 100,
    ("ReplayDecisionRequest", "modes"): len(evidence_pb2.ReplayMode.keys()),
    ("ReplayChurnRiskRequest", "modes"): len(evidence_pb2.ReplayMode.keys()),
    ("ListChurnRisksRequest", "risk_bands"): len(churn_pb2.RiskBand.keys()),
}


def problem_of(content: bytes, message: type[Message] | Message) -> tuple[str, str] | None:
    """Return the field and the kind of the first problem of an encoded message; None if it has no problem."""
    found = find_encoding_problem(content, shape_of_message(message.DESCRIPTOR))
    return (found.field, found.kind) if found else None


def fill_message(message: Message, chance: random.Random) -> Message:
    """Set all fields of a message to random values, in random order; return the message."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    chance.shuffle(fields)
    for each in fields:
        if each.message_type is None:
            fill_scalar(message, each, chance)
        elif each.message_type.GetOptions().map_entry:
            for key in chance.sample(["a", "b", "c" * 200], 2):
                fill_message(getattr(message, each.name)[key], chance)
        elif each.is_repeated:
            for _ in range(3):
                fill_message(getattr(message, each.name).add(), chance)
        else:
            fill_message(getattr(message, each.name), chance).SetInParent()
    return message


def fill_scalar(message: Message, each: FieldDescriptor, chance: random.Random) -> None:
    """Set a scalar field to a random value; a repeated field gets this value twice."""
    # The keys are the field types of descriptor.proto, such as 9 for string.
    values = {9: "t\u00e9xt" * chance.randrange(60), 12: b"\xff\x00", 8: True, 1: -1.5, 2: 2.5, 14: 1}
    value = values.get(each.type, chance.choice([1, 127, 128, 2**31 - 1]))
    if each.is_repeated:
        getattr(message, each.name).extend([value] * 2)
    else:
        setattr(message, each.name, value)


def test_every_list_and_map_of_a_request_has_the_largest_size_of_the_proto_files() -> None:
    for descriptor in REQUESTS:
        shape_of_message(descriptor)  # raises ValueError if the .proto files state no largest size for a list
    found = {
        (descriptor.name, each.name): shape_of_message(descriptor).fields[each.number].count_max
        for descriptor in REQUESTS
        for each in descriptor.fields
        if each.is_repeated
    }

    assert {name: found[name] for name in LARGEST} == LARGEST


@pytest.mark.parametrize("descriptor", REQUESTS, ids=lambda descriptor: descriptor.name)
def test_what_an_encoder_writes_has_no_problem(descriptor: Descriptor) -> None:
    for seed in range(20):
        message = fill_message(GetMessageClass(descriptor)(), random.Random(seed))  # noqa: S311 - a test's seed

        assert problem_of(message.SerializeToString(), message) is None


@pytest.mark.parametrize(
    ("message", "name", "number"),
    [
        (audit_pb2.GetRangeProofRequest, "kept_sizes", 4),
        (churn_pb2.ListChurnRisksRequest, "risk_bands", 6),
    ],
)
def test_empty_parts_of_a_packed_list_are_counted(message: type[Message], name: str, number: int) -> None:
    assert message.DESCRIPTOR.fields_by_number[number].name == name

    assert problem_of(bytes([number << 3 | 2, 0]) * 131_000, message) == (name, "REPEATED_MAX_ITEMS")


def test_a_list_of_numbers_may_be_packed_or_not() -> None:
    packed = audit_pb2.GetRangeProofRequest(kept_sizes=[1, 300, 2**40]).SerializeToString()
    unpacked = b"\x20\x01\x20\xac\x02"

    assert problem_of(packed, audit_pb2.GetRangeProofRequest) is None
    assert problem_of(unpacked, audit_pb2.GetRangeProofRequest) is None
    assert problem_of(packed * 34, audit_pb2.GetRangeProofRequest) == ("kept_sizes", "REPEATED_MAX_ITEMS")
    assert problem_of(unpacked * 51, audit_pb2.GetRangeProofRequest) == ("kept_sizes", "REPEATED_MAX_ITEMS")


VALUE = numbers(turnover=5.0)["turnover"].SerializeToString()
ENTRY = field(4, field(1, b"turnover") + field(2, VALUE))
SCORE = score_request().SerializeToString()
PLANTED = {
    "an unknown field": (SCORE + field(99, b""), ("", "UNKNOWN_FIELD")),
    "a group": (SCORE + b"\x0b\x0c", ("", "UNKNOWN_FIELD")),
    "a known field of another wire type": (SCORE + b"\x08\x01", ("", "UNKNOWN_FIELD")),
    "an unknown field inside": (field(2, field(99, b"")), ("customer", "UNKNOWN_FIELD")),
    "an unknown field in a map": (
        field(4, field(1, b"a") + field(2, field(9, b""))),
        ("features[0].value", "UNKNOWN_FIELD"),
    ),
    "a text twice": (SCORE + field(1, b"other"), ("request_id", "REPEATED_FIELD")),
    "a message twice": (SCORE + field(2, customer("FR")), ("customer", "REPEATED_FIELD")),
    "a number inside twice": (
        field(3, euros(5).SerializeToString() + b"\x10\x06"),
        ("requested_amount.units", "REPEATED_FIELD"),
    ),
    "a map key twice": (SCORE + ENTRY + ENTRY, ("features", "REPEATED_KEY")),
    "the empty map key twice": (field(4, field(2, VALUE)) + field(4, field(1, b"")), ("features", "REPEATED_KEY")),
    "both fields of a oneof": (
        SCORE + field(4, field(1, b"a") + field(2, VALUE + field(2, b"level"))),
        ("features[0].value.level", "REPEATED_FIELD"),
    ),
    "an entry with two values": (
        SCORE + field(4, field(1, b"a") + field(2, VALUE) + field(2, VALUE)),
        ("features[0].value", "REPEATED_FIELD"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_problem_is_found(name: str) -> None:
    content, expected = PLANTED[name]

    assert problem_of(content, credit_pb2.ScoreCreditRequest) == expected


def test_a_key_may_occur_once_in_each_of_two_maps() -> None:
    both = score_request(features=numbers(a=1), facts=numbers(a=1))

    assert problem_of(both.SerializeToString(), both) is None


def test_too_many_entries_are_found_with_the_number_that_is_allowed() -> None:
    request = simulate_request(features=numbers(**{f"f{index}": 1.0 for index in range(513)}))
    found = find_encoding_problem(request.SerializeToString(), shape_of_message(request.DESCRIPTOR))

    assert found is not None
    assert (found.field, found.kind) == ("features", "MAP_MAX_PAIRS")
    assert "512" in found.problem


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05a", b"\x80" * 11, b"\x0a\xff\xff\xff\xff\x0f"], ids=repr)
def test_bytes_that_are_no_message_are_rejected(content: bytes) -> None:
    with pytest.raises(DecodeError):
        problem_of(content, credit_pb2.ScoreCreditRequest)
