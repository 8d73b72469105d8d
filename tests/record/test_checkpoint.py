"""Checkpoints and notes have exactly the published formats, and malformed checkpoints and notes are rejected."""

import base64
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grounds_record.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from grounds_record.errors import (
    CheckpointMalformed,
    CheckpointOriginMismatch,
    KeyMalformed,
    NoteMalformed,
    RecordError,
    SignatureInvalid,
    SignatureMissing,
)
from grounds_record.merkle import EMPTY_ROOT
from grounds_record.note import SigningKey, VerifierKey, open_note, parse_signing_key, parse_verifier_key, sign_note

# These keys and this note are from golang.org/x/mod/sumdb/note, note_test.go.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n\u2014 PeterNeumann {SIGNATURE}\n"
# This checkpoint is the example in C2SP tlog-checkpoint.
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
KEY = SigningKey("example.com/log", bytes(range(32)))
ROOT = bytes(range(32, 64))
LINES = ["example.com/log", "7", base64.b64encode(ROOT).decode()]
lines = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_the_published_note_is_verified_with_its_published_key() -> None:
    assert open_note(NOTE, parse_verifier_key(VKEY)) == TEXT


def test_signing_with_the_published_private_key_returns_the_published_note() -> None:
    key = parse_signing_key(SKEY)

    assert sign_note(TEXT, key) == NOTE
    assert (key.text(), key.verifier().text()) == (SKEY, VKEY)


def test_the_published_example_of_a_checkpoint_is_parsed() -> None:
    text, _, _ = EXAMPLE.rpartition("\n\u2014")

    found = parse_checkpoint(text)

    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert found.text() == text


@given(st.sets(st.integers(0, len(VKEY) - 1), min_size=1, max_size=3))
def test_a_key_with_changed_characters_is_rejected(indexes: set[int]) -> None:
    changed = "".join(chr(ord(each) + (index in indexes)) for index, each in enumerate(VKEY))

    with pytest.raises(KeyMalformed):
        parse_verifier_key(changed)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "name\\+hexhash\\+base64"),
        ("name+c74f20a3", "name\\+hexhash\\+base64"),
        (VKEY.replace("PeterNeumann", ""), "name must not be empty"),
        (VKEY.replace("PeterNeumann", "Peter Neumann"), "must not contain spaces"),
        (VKEY.replace("PeterNeumann", "Peter\u2003Neumann"), "must not contain spaces"),
        (VKEY.replace("c74f20a3", "C74F20A3"), "8 hexadecimal digits in lowercase"),
        (VKEY.replace("c74f20a3", "c74f20a4"), "contains the hash c74f20a4, but its computed hash is c74f20a3"),
        (VKEY + "\n", "base64 of 33 bytes"),
        (VKEY[:-4], "base64 of 33 bytes"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "type 101; only Ed25519"),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "base64 of 33 bytes"),
    ],
)
def test_the_error_for_a_malformed_key_states_the_invalid_part(text: str, problem: str) -> None:
    with pytest.raises(KeyMalformed, match=problem):
        parse_verifier_key(text)


def test_a_public_key_is_rejected_as_a_private_key_and_repr_omits_the_private_key() -> None:
    with pytest.raises(KeyMalformed, match="must begin with PRIVATE"):
        parse_signing_key(VKEY)
    assert "seed" not in repr(KEY)


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        ("", "must end in a newline"),
        (NOTE[:-1], "must end in a newline"),
        (TEXT, "an empty line and signature lines"),
        (TEXT + "\n", "no signature"),
        (NOTE + "\n", "no signature"),
        (f"\n\n\u2014 PeterNeumann {SIGNATURE}\n", "an empty line and signature lines"),
        (NOTE.replace("\u2014", "-"), "line 1 must begin with an em dash"),
        (NOTE.replace("\u2014 ", "\u2014"), "line 1 must begin with an em dash"),
        (NOTE.replace("\u2014 PeterNeumann ", "\u2014 PeterNeumann"), "line 1 has no valid key name"),
        (NOTE.replace("\u2014 PeterNeumann", "\u2014 "), "line 1 has no valid key name"),
        (NOTE.replace("\u2014 PeterNeumann", "\u2014 Peter+Neumann"), "line 1 has no valid key name"),
        (NOTE.replace("\u2014 PeterNeumann", "\u2014 Peter\u00a0Neumann"), "line 1 has no valid key name"),
        (NOTE.replace(SIGNATURE, SIGNATURE[:-1]), "line 1 must end in the base64"),
        (NOTE.replace(SIGNATURE, SIGNATURE[:-2] + "N="), "line 1 must end in the base64"),
        (NOTE.replace(SIGNATURE, SIGNATURE + " "), "line 1 must end in the base64"),
        (NOTE.replace(SIGNATURE, "x08gow=="), "line 1 must end in the base64"),
        (NOTE + f"\u2014 other {SIGNATURE} \n", "line 2 must end in the base64"),
        (NOTE.replace("\n", "\r\n"), "line 1 contains a control character"),
        (NOTE.replace("think", "thi\tnk"), "line 1 contains a control character"),
        (NOTE.replace("think", "thi\udc80nk"), "valid UTF-8"),
        (TEXT * 11000 + NOTE, "at most 1000000 are allowed"),
        (NOTE + f"\u2014 other {SIGNATURE}\n" * 100, "101 signatures"),
    ],
)
def test_the_error_for_a_malformed_note_states_the_problem_and_the_line(note: str, problem: str) -> None:
    with pytest.raises(NoteMalformed, match=problem):
        open_note(note, parse_verifier_key(VKEY))


@given(st.integers(0, len(TEXT) - 2), st.characters(min_codepoint=32, max_codepoint=126))
def test_a_note_with_a_changed_character_is_rejected(place: int, character: str) -> None:
    assume(TEXT[place] not in (character, "\n"))

    with pytest.raises(SignatureInvalid):
        open_note(TEXT[:place] + character + NOTE[place + 1 :], parse_verifier_key(VKEY))


def test_signatures_by_other_keys_are_ignored_but_an_invalid_one_by_our_key_is_rejected() -> None:
    other = SigningKey("example.com/log", bytes(32))
    ours, theirs = (sign_note(TEXT, key).rpartition("\n\n")[2] for key in (KEY, other))
    wrong = sign_note("another text\n", KEY).rpartition("\n\n")[2]

    assert open_note(f"{TEXT}\n{theirs}{ours}", KEY.verifier()) == TEXT
    with pytest.raises(SignatureMissing, match=re.escape("not by example.com/log+")):
        open_note(f"{TEXT}\n{theirs}", KEY.verifier())
    with pytest.raises(SignatureInvalid):
        open_note(f"{TEXT}\n{ours}{wrong}", KEY.verifier())


def test_the_last_empty_line_separates_text_and_signatures() -> None:
    text = "a\n\n\u2014 not a signature\n\n\n"

    assert open_note(sign_note(text, KEY), KEY.verifier()) == text


@pytest.mark.parametrize("text", ["", "\n", "no newline", "a\tb\n"])
def test_a_text_that_is_invalid_for_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformed):
        sign_note(text, KEY)


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(lines, max_size=3))
def test_a_signed_checkpoint_is_opened_unchanged(size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(KEY.name, size, root, tuple(extensions))

    assert open_checkpoint(sign_checkpoint(checkpoint, KEY), KEY.verifier()) == checkpoint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n".join(LINES), "must end in a newline"),
        ("\n".join([*LINES[:2], ""]), "at least 3 lines"),
        ("\n".join([*LINES, "", ""]), "line 4 is empty"),
        ("\n".join(["", *LINES[1:], ""]), "line 1 is empty"),
        *(
            ("\n".join([LINES[0], size, LINES[2], ""]), "line 2, the size")
            for size in ("07", "-7", "+7", " 7", "7 ", "7.0", "1_0", "0x7", "\u0667", "9" * 20, "seven")
        ),
        ("\n".join([LINES[0], "9" * 19, LINES[2], ""]), "the size must be from 0"),
        ("\n".join([*LINES[:2], LINES[2][:-1], ""]), "line 3, the root"),
        ("\n".join([*LINES[:2], LINES[2][:-2] + "9=", ""]), "line 3, the root"),
        ("\n".join([*LINES[:2], base64.b64encode(ROOT[:-1]).decode(), ""]), "line 3, the root"),
        ("\n".join([*LINES[:2], ROOT.hex(), ""]), "line 3, the root"),
        ("\n".join([LINES[0], "0", LINES[2], ""]), "root of an empty log"),
    ],
)
def test_a_malformed_checkpoint_is_rejected_with_its_invalid_line_even_if_it_is_signed(text: str, problem: str) -> None:
    with pytest.raises(CheckpointMalformed, match=problem):
        parse_checkpoint(text)
    if text.endswith("\n"):
        with pytest.raises(CheckpointMalformed, match=problem):
            open_checkpoint(sign_note(text, KEY), KEY.verifier())


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions"),
    [
        ("", 7, ROOT, ()),
        ("two\nlines", 7, ROOT, ()),
        ("log", 7, ROOT, ("",)),
        ("log", -1, ROOT, ()),
        ("log", 2**63, ROOT, ()),
        ("log", 7, ROOT[:-1], ()),
    ],
    ids=range(6),
)
def test_a_checkpoint_with_invalid_fields_cannot_be_created(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...]
) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint(origin, size, root, extensions)


def test_the_checkpoint_of_an_empty_log_is_valid() -> None:
    checkpoint = Checkpoint(KEY.name, 0, EMPTY_ROOT)

    assert open_checkpoint(sign_checkpoint(checkpoint, KEY), KEY.verifier()) == checkpoint


def test_a_checkpoint_of_a_different_log_is_neither_signed_nor_opened() -> None:
    other = Checkpoint("example.com/other", 7, ROOT)

    with pytest.raises(
        CheckpointOriginMismatch,
        match=re.escape("'example.com/other', but the key belongs to the log 'example.com/log'"),
    ):
        sign_checkpoint(other, KEY)
    with pytest.raises(CheckpointOriginMismatch):
        open_checkpoint(sign_note(other.text(), KEY), KEY.verifier())


@given(st.text(max_size=200))
def test_any_text_raises_only_errors_of_this_package(text: str) -> None:
    for read in (parse_verifier_key, parse_signing_key, parse_checkpoint):
        with pytest.raises(RecordError):
            read(text)
    with pytest.raises(RecordError):
        open_checkpoint(text, VerifierKey("log", bytes(32)))
