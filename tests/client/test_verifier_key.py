"""What an auditor gives for the log's public key."""

import re
from pathlib import Path

import pytest

from grounds_client.verify import verifier_of
from grounds_record.errors import KeyMalformed
from grounds_record.note import PRIVATE_KEY_PREFIX, SigningKey

KEY = SigningKey("example.com/other", b"\x07" * 32).verifier()


def test_a_key_is_given_as_it_is_or_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "log.pub").write_text(f"{KEY.text()}\n")

    assert verifier_of(KEY.text()).text() == verifier_of(str(tmp_path / "log.pub")).text() == KEY.text()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("none.pub", "--key is neither a file that is there nor a public key: a key has the form name+hexhash+base64"),
        (PRIVATE_KEY_PREFIX + "x+00000000+AAAA", "--key is a private key, which should not be here"),
    ],
)
def test_what_is_no_public_key_is_said(key: str, told: str) -> None:
    with pytest.raises(KeyMalformed, match=re.escape(told)) as caught:
        verifier_of(key)

    assert "AAAA" not in str(caught.value)
