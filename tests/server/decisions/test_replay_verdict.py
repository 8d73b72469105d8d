"""A replay in the same runtime requires fields that are equal bit for bit; a different runtime has a tolerance."""

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from grounds.audit.v1 import audit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch, ReplayRuntimeDiffers, Scalar, compare_fields
from server.edges.audit.replay_results import flat_fields

SCALARS = st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.booleans())
FIELDS = st.dictionaries(st.text("abc.[0]pd", min_size=1, max_size=6), SCALARS, min_size=1, max_size=8)


def bits(value: Scalar) -> object:
    """Return the bits of a double; return any other value unchanged."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


@given(FIELDS)
def test_equal_fields_match(fields: dict[str, Scalar]) -> None:
    assert compare_fields(fields, dict(fields), same_runtime=True) == ReplayMatch(len(fields))
    assert compare_fields(fields, dict(fields), same_runtime=False) == ReplayRuntimeDiffers(0.0, 0, len(fields))


@given(FIELDS, FIELDS)
def test_on_the_same_runtime_only_what_is_equal_to_the_bit_matches(
    one: dict[str, Scalar], other: dict[str, Scalar]
) -> None:
    equal = {path: bits(value) for path, value in one.items()} == {path: bits(value) for path, value in other.items()}

    verdict = compare_fields(one, other, same_runtime=True)

    assert isinstance(verdict, ReplayMatch) == equal
    if isinstance(verdict, ReplayMismatch):
        assert verdict.field in {*one, *other}


def test_zeros_of_two_signs_and_neighbouring_doubles_differ() -> None:
    for one, other in ((0.0, -0.0), (0.1, math.nextafter(0.1, 1)), (1, 1.0), (True, 1), ("1", 1)):
        verdict = compare_fields({"x": one}, {"x": other}, same_runtime=True)

        assert verdict == ReplayMismatch("x", str(one), str(other), 1)


def test_another_runtime_may_move_a_pd_by_1e_12_and_other_numbers_by_1e_9() -> None:
    near = compare_fields(
        {"a.pd": 0.2, "margin": 1.0}, {"a.pd": 0.2 + 9e-13, "margin": 1.0 + 9e-10}, same_runtime=False
    )
    far = compare_fields({"a.pd": 0.2, "margin": 1.0}, {"a.pd": 0.2 + 1.1e-12, "margin": 1.0}, same_runtime=False)
    farther = compare_fields({"margin": 1.0}, {"margin": 1.0 + 1.1e-9}, same_runtime=False)

    assert isinstance(near, ReplayRuntimeDiffers)
    assert (near.differing, near.compared) == (2, 2)
    assert 8e-13 < near.pd_distance < 1e-12
    assert isinstance(far, ReplayMismatch)
    assert isinstance(farther, ReplayMismatch)
    assert (far.field, farther.field) == ("a.pd", "margin")


def test_another_runtime_may_change_no_point_no_grade_no_reason_and_no_presence() -> None:
    for one, other in (
        ({"score": 500}, {"score": 501}),
        ({"grade": "A"}, {"grade": "B"}),
        ({"text": "x"}, {"text": ""}),
    ):
        assert isinstance(compare_fields(one, other, same_runtime=False), ReplayMismatch)
    assert isinstance(compare_fields({"a": "x", "b": "y"}, {"a": "x"}, same_runtime=False), ReplayMismatch)
    assert isinstance(compare_fields({"a": math.nan}, {"a": 1.0}, same_runtime=False), ReplayMismatch)
    unset = compare_fields({"a": "x"}, {"a": "x", "contribution": 1e-17}, same_runtime=False)
    assert isinstance(unset, ReplayRuntimeDiffers), "a number that is not set is 0"


def test_fields_have_the_paths_of_the_contract() -> None:
    message = pb.DecisionRecord(
        request=b"\x01\xff",
        features=[pb.FedFeature(feature="a", value=FeatureValue(level="L")), pb.FedFeature(number=math.inf)],
        numbers=pb.ModelNumbers(contributions=[0.0, -0.5]),
    )
    stored = pb.StoredRecord(columns={"b": "2", "a": "1"})

    assert flat_fields("record", message) == {
        "record.request": "01ff",
        "record.features[0]": "FedFeature",
        "record.features[0].feature": "a",
        "record.features[0].value": "FeatureValue",
        "record.features[0].value.level": "L",
        "record.features[1]": "FedFeature",
        "record.features[1].number": math.inf,
        "record.numbers": "ModelNumbers",
        "record.numbers.contributions[0]": 0.0,
        "record.numbers.contributions[1]": -0.5,
    }
    assert list(flat_fields("", stored)) == ['columns["a"]', 'columns["b"]']
