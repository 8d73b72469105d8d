"""Cosignatures have exactly the format that C2SP publishes, and a verification can require cosignatures."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from grounds_record.checkpoint import open_checkpoint
from grounds_record.cosignature import add_cosignature, parse_witness_key, verify_cosignatures, witness_key
from grounds_record.errors import KeyMalformed, NoteMalformed, SignatureInvalid
from grounds_record.export import Export
from grounds_record.note import SigningKey
from grounds_record.verification import CosignatureRule, verify
from grounds_record.verification_report import FaultKind, VerificationReport
from tests.record.logs import KEY, LOG, NEW, OLD

# VKEY is from note_cosigv1_test.go of transparency-dev/formats; EXAMPLE is the example in C2SP tlog-cosignature.
VKEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
LOG_VKEY = "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
W1, W2 = SigningKey("example.com/w1", b"\x01" * 32), SigningKey("example.com/w2", b"\x02" * 32)
BOTH = (witness_key(W1), witness_key(W2))
TIME = 1679315147


def test_a_published_key_of_a_witness_is_parsed_and_written_with_its_key_id() -> None:
    key = parse_witness_key(VKEY)

    assert (key.name, key.key_id.hex()) == ("remora.n621.de", "da77ade7")
    assert key.text() == VKEY


@pytest.mark.parametrize("text", [LOG_VKEY, VKEY.replace("da77ade7", "da77ade8"), "remora.n621.de+da77ade7", ""])
def test_anything_except_the_key_of_a_witness_is_rejected(text: str) -> None:
    with pytest.raises(KeyMalformed):
        parse_witness_key(text)


def test_the_signature_line_and_the_signed_message_are_those_of_the_specification() -> None:
    unsigned = EXAMPLE[: EXAMPLE.index("\u2014 witness")]

    line = add_cosignature(unsigned, W1, TIME).removeprefix(unsigned)
    published = EXAMPLE.removeprefix(unsigned).split(" ")[2]

    name, content = line.removeprefix("\u2014 ").removesuffix("\n").split(" ")
    decoded, example = base64.b64decode(content), base64.b64decode(published)
    assert name == "example.com/w1"
    assert len(decoded) == len(example) == 4 + 8 + 64
    assert decoded[:4] == witness_key(W1).key_id
    assert decoded[4:12] == example[4:12] == TIME.to_bytes(8, "big")
    body = EXAMPLE[: EXAMPLE.index("\n\n") + 1]
    message = f"cosignature/v1\ntime {TIME}\n{body}".encode()
    Ed25519PublicKey.from_public_bytes(W1.verifier().public).verify(decoded[12:], message)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(W1.verifier().public).verify(decoded[12:], message + b"x")


def test_a_cosigned_checkpoint_still_opens_with_the_key_of_the_log() -> None:
    cosigned = add_cosignature(add_cosignature(NEW, W1, TIME), W2, TIME + 1)

    assert open_checkpoint(cosigned, KEY.verifier()) == open_checkpoint(NEW, KEY.verifier())
    assert verify_cosignatures(cosigned, BOTH) == {"example.com/w1": TIME, "example.com/w2": TIME + 1}
    assert verify_cosignatures(cosigned, BOTH[:1]) == {"example.com/w1": TIME}
    assert verify_cosignatures(NEW, BOTH) == {}


def test_a_cosignature_of_another_checkpoint_or_another_time_does_not_verify() -> None:
    line = add_cosignature(NEW, W1, TIME).removeprefix(NEW)
    content = bytearray(base64.b64decode(line.split(" ")[2]))
    content[11] ^= 1

    with pytest.raises(SignatureInvalid, match=r"example\.com/w1 does not verify"):
        verify_cosignatures(OLD + line, BOTH)
    with pytest.raises(SignatureInvalid, match=r"example\.com/w1 does not verify"):
        verify_cosignatures(f"{NEW}\u2014 example.com/w1 {base64.b64encode(content).decode()}\n", BOTH)
    with pytest.raises(NoteMalformed, match="after 1970"):
        add_cosignature(NEW, W1, 0)


def check_cosigned(*checkpoints: str, quorum: int) -> VerificationReport:
    """Verify LOG with these checkpoints, and require the cosignatures of `quorum` witnesses."""
    export = Export(start=0, records=LOG.rows)
    return verify(export, checkpoints, KEY.verifier(), CosignatureRule(BOTH, quorum))


def test_a_verification_fails_if_too_few_witnesses_cosigned_a_checkpoint() -> None:
    one, other = add_cosignature(OLD, W1, TIME), add_cosignature(OLD, W2, TIME)

    assert [fault.kind for fault in check_cosigned(OLD, NEW, quorum=1).faults] == [FaultKind.COSIGNATURES_MISSING]
    assert [fault.kind for fault in check_cosigned(one, NEW, quorum=2).faults] == [FaultKind.COSIGNATURES_MISSING]
    report = check_cosigned(one, other, NEW, quorum=2)
    assert report.holds
    assert "the checkpoint of 60 records is cosigned by example.com/w1, example.com/w2" in report.sentences()


def test_a_cosigned_checkpoint_that_the_log_contradicts_does_not_count() -> None:
    other = LOG.rewritten([3]).checkpoint(60)

    report = check_cosigned(add_cosignature(other, W1, TIME), NEW, quorum=1)

    assert FaultKind.COSIGNATURES_MISSING in {fault.kind for fault in report.faults}


def test_a_forged_cosignature_is_a_fault() -> None:
    line = add_cosignature(NEW, W1, TIME).removeprefix(NEW)

    report = check_cosigned(OLD + line, add_cosignature(NEW, W2, TIME), quorum=1)

    assert [fault.kind for fault in report.faults] == [FaultKind.COSIGNATURE_INVALID]
