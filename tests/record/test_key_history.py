"""The rotations of a log's signing key lead from any trusted key to all others, and nobody else can add a key."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from grounds_record.checkpoint import open_checkpoint, parse_checkpoint
from grounds_record.errors import (
    CheckpointMalformed,
    KeyHistoryInvalid,
    RecordError,
    SignatureInvalid,
    SignatureMissing,
)
from grounds_record.export import Export
from grounds_record.export_file import read_export, write_export
from grounds_record.key_history import (
    KeyHistory,
    open_rotation,
    rotation_from_labels,
    rotation_labels,
    sign_rotation,
    trace_keys,
)
from grounds_record.note import SigningKey, parse_note
from grounds_record.verification import verify
from tests.record.logs import KEY, honest_log

SECOND, THIRD = SigningKey(KEY.name, b"\x02" * 32), SigningKey(KEY.name, b"\x03" * 32)
FIRST_ROTATION, SECOND_ROTATION = sign_rotation(10, KEY, SECOND), sign_rotation(15, SECOND, THIRD)
ROTATIONS = (FIRST_ROTATION, SECOND_ROTATION)
VERIFIERS = tuple(key.verifier() for key in (KEY, SECOND, THIRD))
LOG = honest_log(20)


def test_both_keys_sign_the_statement_of_a_rotation() -> None:
    text, signatures = parse_note(FIRST_ROTATION)

    assert len(signatures) == 2
    for key, (name, key_id, signature) in zip((KEY, SECOND), signatures, strict=True):
        assert (name, key_id) == (key.name, key.verifier().key_id)
        Ed25519PublicKey.from_public_bytes(key.verifier().public).verify(signature, text.encode())
    with pytest.raises(CheckpointMalformed):
        parse_checkpoint(text)


@pytest.mark.parametrize("trusted", VERIFIERS, ids=["oldest", "middle", "newest"])
def test_a_reader_who_trusts_any_key_verifies_the_checkpoints_of_all_keys(trusted: object) -> None:
    history = trace_keys(trusted, ROTATIONS[::-1])  # type: ignore[arg-type]

    assert history == KeyHistory(VERIFIERS, (10, 15), ROTATIONS)
    for size, key in ((1, KEY), (10, KEY), (11, SECOND), (15, SECOND), (16, THIRD), (20, THIRD)):
        assert open_checkpoint(LOG.checkpoint(size, key), history).size == size


@pytest.mark.parametrize(("size", "key"), [(11, KEY), (20, KEY), (10, SECOND), (16, SECOND), (15, THIRD)])
def test_a_key_does_not_sign_checkpoints_of_another_keys_time(size: int, key: SigningKey) -> None:
    with pytest.raises(SignatureMissing):
        open_checkpoint(LOG.checkpoint(size, key), trace_keys(VERIFIERS[0], ROTATIONS))


def test_a_rotation_that_one_of_its_keys_did_not_sign_is_rejected() -> None:
    thief = SigningKey(KEY.name, b"\x09" * 32)
    without_old = sign_rotation(10, thief, SECOND).replace(thief.verifier().text(), KEY.verifier().text())
    text, separator, signatures = FIRST_ROTATION.rpartition("\n\n")
    old_only = f"{text}{separator}{signatures.splitlines()[0]}\n"
    for forged in (without_old, old_only):
        with pytest.raises((SignatureMissing, SignatureInvalid)):
            open_rotation(forged)
    with pytest.raises(SignatureInvalid):
        open_rotation(FIRST_ROTATION.replace("\n10\n", "\n11\n"))
    for malformed in ("v1", "log\n"):
        with pytest.raises(RecordError):
            open_rotation(FIRST_ROTATION.replace(malformed, "", 1))


def test_rotations_that_contradict_each_other_are_rejected_and_unconnected_ones_ignored() -> None:
    with pytest.raises(KeyHistoryInvalid, match="two successors"):
        trace_keys(VERIFIERS[0], [FIRST_ROTATION, sign_rotation(10, KEY, THIRD)])
    with pytest.raises(KeyHistoryInvalid, match="ascending"):
        trace_keys(VERIFIERS[0], [FIRST_ROTATION, sign_rotation(9, SECOND, THIRD)])
    with pytest.raises(KeyHistoryInvalid, match="at most 1000"):
        trace_keys(VERIFIERS[0], [FIRST_ROTATION] * 1001)
    assert trace_keys(VERIFIERS[0], [SECOND_ROTATION]) == KeyHistory((VERIFIERS[0],))


def test_a_statement_survives_the_labels_of_a_record() -> None:
    labels = rotation_labels(FIRST_ROTATION)

    assert all(len(code) <= 128 for code in labels.values())
    assert rotation_from_labels(KEY.name, 10, labels) == FIRST_ROTATION
    with pytest.raises(RecordError):
        rotation_from_labels(KEY.name, 10, labels | {"old_key": "zz"})


@pytest.mark.parametrize("trusted", VERIFIERS, ids=["oldest", "middle", "newest"])
def test_an_export_verifies_with_any_key_of_the_log_if_it_contains_the_rotations(
    tmp_path: Path, trusted: object
) -> None:
    export = Export(start=0, records=LOG.rows, key_rotations=ROTATIONS)
    write_export(tmp_path / "log.jsonl", export, LOG.checkpoint(20, THIRD))
    read, newest = read_export(tmp_path / "log.jsonl")
    kept = [LOG.checkpoint(5, KEY), LOG.checkpoint(12, SECOND)]

    assert verify(read, [newest, *kept], trusted).holds  # type: ignore[arg-type]
    if trusted != VERIFIERS[2]:
        assert not verify(replace(export, key_rotations=()), [newest], trusted).holds  # type: ignore[arg-type]


def test_an_export_without_rotations_has_the_format_of_older_releases(tmp_path: Path) -> None:
    write_export(tmp_path / "log.jsonl", Export(start=0, records=LOG.rows), LOG.checkpoint(20))

    head = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert set(head) == {"format", "start", "checkpoint", "before", "after", "retentions", "consistency"}
