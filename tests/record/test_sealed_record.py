"""A record can be opened only with its customer's key and only if no bit of the record was changed."""

import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from grounds_record.customer_keys import content_tag, customer_tag, key_id, new_customer_key, unwrap_key, wrap_key
from grounds_record.errors import (
    CustomerKeyMismatch,
    FrameInvalid,
    HeaderInvalid,
    HeaderVersionUnsupported,
    KeyMalformed,
    RecordAltered,
    RecordError,
    WrappedKeyInvalid,
)
from grounds_record.header import Header, RemovedRecord, parse_header
from grounds_record.sealed_record import BODY_BYTES_MAX, SealedRecord, open_record, parse_leaf_data, seal_record

KEY, OTHER, MASTER = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
UUID = "5d1c2a34-0f6e-4b7a-9c1d-2e3f40516273"
DIGEST = "ab" * 32
HEADER = Header(
    kind="CREDIT_DECISION",
    record_id=UUID,
    time_us=1_767_225_600_000_000,
    caller="loan-desk",
    key_id=key_id(KEY),
    request_id=UUID,
    customer_tag=DIGEST,
    content_tag=DIGEST,
    labels={"market": "TW", "grade": "F"},
)
RETENTION = replace(HEADER, kind="RETENTION", removed=(RemovedRecord(5, DIGEST), RemovedRecord(9, DIGEST)))

codes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,20}", fullmatch=True)
tags = st.one_of(st.just(""), st.binary(min_size=32, max_size=32).map(bytes.hex))
headers = st.builds(
    Header,
    kind=st.from_regex("[A-Z][A-Z0-9_]{0,31}", fullmatch=True).filter(lambda kind: kind != "RETENTION"),
    record_id=st.uuids().map(str),
    time_us=st.integers(0, 2**53 - 1),
    caller=codes,
    key_id=st.just(key_id(KEY)),
    request_id=st.one_of(st.just(""), st.uuids().map(str)),
    customer_tag=tags,
    content_tag=tags,
    labels=st.dictionaries(st.from_regex("[a-z][a-z0-9_]{0,31}", fullmatch=True), codes, max_size=5),
)


@settings(deadline=None)
@given(headers, st.binary(max_size=300))
def test_a_sealed_record_is_opened_to_the_same_header_and_body(header: Header, body: bytes) -> None:
    record = seal_record(header, body, KEY)

    assert parse_header(record.header) == header
    assert open_record(record, KEY) == (header, body)
    assert parse_leaf_data(record.leaf_data()) == record


def test_the_bytes_match_the_specification() -> None:
    """Compute the bytes as record/README.md specifies them, with only the standard library and AES-GCM."""
    body = b"a body"
    record = seal_record(HEADER, body, KEY)
    values = {
        "caller": "loan-desk",
        "content_tag": DIGEST,
        "customer_tag": DIGEST,
        "key_id": hmac.new(KEY, b"grounds/key-id/1", hashlib.sha256).digest()[:16].hex(),
        "kind": "CREDIT_DECISION",
        "labels": {"grade": "F", "market": "TW"},
        "record_id": UUID,
        "removed": [],
        "request_id": UUID,
        "time_us": 1767225600000000,
        "version": 1,
    }
    header = json.dumps(values, separators=(",", ":")).encode()
    sealing = hmac.new(KEY, b"grounds/seal/1", hashlib.sha256).digest()

    assert record.header == header
    assert AESGCM(sealing).decrypt(record.ciphertext[:12], record.ciphertext[12:], header) == body
    data = len(header).to_bytes(4, "big") + header + record.ciphertext
    assert record.leaf_data() == data
    assert record.leaf_hash() == hashlib.sha256(b"\x00" + data).digest()


def test_sealing_the_same_body_twice_returns_different_bytes() -> None:
    assert seal_record(HEADER, b"body", KEY).ciphertext != seal_record(HEADER, b"body", KEY).ciphertext


def test_the_key_of_a_different_customer_is_reported_as_a_mismatch() -> None:
    with pytest.raises(CustomerKeyMismatch, match=f"under key {key_id(KEY)}, got key {key_id(OTHER)}"):
        open_record(seal_record(HEADER, b"body", KEY), OTHER)
    with pytest.raises(CustomerKeyMismatch):
        seal_record(HEADER, b"body", OTHER)


def test_a_record_whose_header_was_replaced_by_a_valid_one_is_not_opened() -> None:
    record = seal_record(HEADER, b"body", KEY)
    changed = replace(HEADER, labels={"market": "TW", "grade": "A"}).to_bytes()

    with pytest.raises(RecordAltered, match=UUID):
        open_record(SealedRecord(changed, record.ciphertext), KEY)


def test_a_record_with_a_changed_bit_or_a_truncated_ciphertext_is_not_opened() -> None:
    record = seal_record(HEADER, b"a body", KEY)

    for place in range(len(record.ciphertext)):
        for flip_bit in (1, 128):
            changed = bytearray(record.ciphertext)
            changed[place] ^= flip_bit
            with pytest.raises(RecordAltered):
                open_record(SealedRecord(record.header, bytes(changed)), KEY)
        with pytest.raises(RecordAltered):
            open_record(SealedRecord(record.header, record.ciphertext[:place]), KEY)


def test_a_record_with_a_changed_bit_of_its_header_is_not_opened() -> None:
    record = seal_record(HEADER, b"a body", KEY)

    for place in range(len(record.header)):
        changed = bytearray(record.header)
        changed[place] ^= 1
        with pytest.raises(RecordError):
            open_record(SealedRecord(bytes(changed), record.ciphertext), KEY)


def test_moving_the_boundary_between_header_and_ciphertext_changes_the_leaf_hash() -> None:
    record = seal_record(HEADER, b"body", KEY)
    moved = SealedRecord(record.header[:-1], record.header[-1:] + record.ciphertext)

    assert moved.header + moved.ciphertext == record.header + record.ciphertext
    assert moved.leaf_hash() != record.leaf_hash()


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", b"\0\0\0\x05head", b"\xff\xff\xff\xff" + bytes(70000), b"\0\1\0\1" + bytes(70000)]
)
def test_leaf_data_with_an_invalid_length_prefix_is_rejected(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        parse_leaf_data(data)


def test_a_body_one_byte_over_the_limit_is_rejected() -> None:
    with pytest.raises(FrameInvalid, match="at most 16777216"):
        seal_record(HEADER, bytes(BODY_BYTES_MAX + 1), KEY)


def test_a_list_of_removed_records_is_parsed_unchanged() -> None:
    assert parse_header(RETENTION.to_bytes()) == RETENTION


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "credit"}, "kind must match"),
        ({"record_id": UUID.upper()}, "record_id must match"),
        ({"record_id": UUID + "\n"}, "record_id must match"),
        ({"time_us": -1}, "time_us must be an integer"),
        ({"time_us": 2**53}, "time_us must be an integer"),
        ({"time_us": True}, "time_us must be an integer"),
        ({"time_us": 1.0}, "time_us must be an integer"),
        ({"caller": ""}, "caller must match"),
        ({"caller": "x" * 129}, "caller must match"),
        ({"key_id": ""}, "key_id must match"),
        ({"customer_tag": "ab"}, "customer_tag must match"),
        ({"labels": {"officer": "Erika Mustermann"}}, "label officer must match"),
        ({"labels": {"contact": "erika@example.com"}}, "label contact must match"),
        ({"labels": {"Market": "TW"}}, "the name of a label must match"),
        ({"labels": {"market": ""}}, "label market must match"),
        ({"kind": "RETENTION"}, "of kind RETENTION and empty in all others"),
        ({"removed": (RemovedRecord(5, DIGEST),)}, "of kind RETENTION and empty in all others"),
        ({"kind": "RETENTION", "removed": (RemovedRecord(5, DIGEST), RemovedRecord(5, DIGEST))}, "ascending order"),
        ({"kind": "RETENTION", "removed": (RemovedRecord(-1, DIGEST),)}, "removed: index must be an integer"),
        ({"kind": "RETENTION", "removed": (RemovedRecord(5, "ab"),)}, "removed: header_sha256 must match"),
        ({"kind": "RETENTION", "removed": tuple(RemovedRecord(i, DIGEST) for i in range(501))}, "at most 500"),
    ],
    ids=range(21),
)
def test_an_invalid_header_is_rejected_and_the_message_omits_the_invalid_text(
    change: dict[str, object], problem: str
) -> None:
    with pytest.raises(HeaderInvalid, match=problem) as refused:
        replace(HEADER, **change)  # type: ignore[arg-type]
    assert "rika" not in str(refused.value)


def test_500_removed_records_fit_and_a_header_over_64_kib_is_rejected() -> None:
    most = tuple(RemovedRecord(2**53 - 1 - 500 + place, DIGEST) for place in range(500))

    assert parse_header(replace(RETENTION, removed=most).to_bytes()).removed == most
    with pytest.raises(HeaderInvalid, match="at most 65536"):
        replace(HEADER, labels={f"label_{number}": "x" * 128 for number in range(500)}).to_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[" * 60000, "must be JSON"),
        (b"9" * 5000, "must be JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "no version"),
        (HEADER.to_bytes().replace(b'"version":1', b'"version":true'), "no version"),
        (HEADER.to_bytes().replace(b'"version":1', b'"version":0'), "no version"),
        (HEADER.to_bytes().replace(b'"version":1', b'"extra":1,"version":1'), "missing or unknown fields: extra"),
        (HEADER.to_bytes().replace(b'"removed":[],', b""), "missing or unknown fields: removed"),
        (HEADER.to_bytes().replace(b'"removed":[]', b'"removed":{}'), "removed: must be a list"),
        (HEADER.to_bytes().replace(b'"removed":[]', b'"removed":[5]'), "removed: every entry must be"),
        (HEADER.to_bytes().replace(b'{"grade":"F","market":"TW"}', b"[]"), "labels: must be an object"),
        (HEADER.to_bytes().replace(b'"F"', b"5"), "label grade must match"),
        (HEADER.to_bytes().replace(b'"grade":"F","market":"TW"', b'"market":"TW","grade":"F"'), "canonical"),
        (HEADER.to_bytes().replace(b'"grade":"F"', b'"grade":"A","grade":"F"'), "canonical"),
        (HEADER.to_bytes().replace(b'"F"', b'"\\u0046"'), "canonical"),
        (HEADER.to_bytes() + b" ", "canonical"),
        (b"x" * 65537, "at most 65536"),
    ],
    ids=range(19),
)
def test_bytes_that_are_not_a_canonical_header_are_rejected(content: bytes, problem: str) -> None:
    with pytest.raises(HeaderInvalid, match=problem):
        parse_header(content)


def test_a_header_of_a_newer_version_is_reported_as_newer_regardless_of_its_fields() -> None:
    with pytest.raises(HeaderVersionUnsupported, match="version 2; this release reads up to 1"):
        parse_header(b'{"fields":"of tomorrow","version":2}')


def test_a_wrapped_key_is_unwrapped_only_with_its_master_key_and_its_key_id() -> None:
    wrapped = wrap_key(KEY, MASTER)

    assert unwrap_key(wrapped, key_id(KEY), MASTER) == KEY
    assert len(wrapped) == 61
    assert wrapped != wrap_key(KEY, MASTER)
    for bytes_of, name, master in (
        (wrapped, key_id(KEY), OTHER),
        (wrapped, key_id(OTHER), MASTER),
        (wrap_key(OTHER, MASTER), key_id(KEY), MASTER),
        (b"\x02" + wrapped[1:], key_id(KEY), MASTER),
        (wrapped[:-1], key_id(KEY), MASTER),
        *((wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], key_id(KEY), MASTER) for at in range(61)),
    ):
        with pytest.raises(WrappedKeyInvalid):
            unwrap_key(bytes_of, name, master)


def test_a_key_that_was_wrapped_under_a_wrong_key_id_is_rejected() -> None:
    planted = b"\x01" + bytes(12) + AESGCM(MASTER).encrypt(bytes(12), OTHER, key_id(KEY).encode())

    with pytest.raises(WrappedKeyInvalid, match="to a key with a different id"):
        unwrap_key(planted, key_id(KEY), MASTER)


@given(st.tuples(st.text("AB", max_size=3), st.text("AB", max_size=3)), st.tuples(st.text("AB"), st.text("AB")))
def test_two_tags_are_equal_only_if_market_and_customer_id_are_equal(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (customer_tag(*one, MASTER) == customer_tag(*other, MASTER)) == (one == other)
    assert customer_tag(*one, MASTER) != customer_tag(*one, OTHER)


def test_tags_are_the_specified_hmacs() -> None:
    digest_key = hmac.new(KEY, b"grounds/content/1", hashlib.sha256).digest()

    assert customer_tag("TW", "148", MASTER) == hmac.new(MASTER, b"\x02TW148", hashlib.sha256).digest()
    assert content_tag(b"request", KEY) == hmac.new(digest_key, b"request", hashlib.sha256).digest()
    assert content_tag(b"request", KEY) != content_tag(b"request", OTHER)


def test_keys_of_the_wrong_length_are_rejected() -> None:
    assert len(new_customer_key()) == 32
    for use in (lambda: key_id(KEY[:-1]), lambda: wrap_key(KEY, MASTER[:-1]), lambda: customer_tag("TW", "1", b"")):
        with pytest.raises(KeyMalformed, match="a key must have 32 bytes"):
            use()
