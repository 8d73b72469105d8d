"""The option `--key` of `verify` and `evidence`."""

import re
from pathlib import Path

import pytest

from grounds_client.commands.record_log import parse_key_option
from grounds_record.errors import KeyMalformed
from grounds_record.note import PRIVATE_KEY_PREFIX, SigningKey

KEY = SigningKey("example.com/other", b"\x07" * 32).verifier()


def test_a_key_is_read_from_the_option_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "log.pub").write_text(f"{KEY.text()}\n")

    assert parse_key_option(KEY.text()).text() == KEY.text()
    assert parse_key_option(str(tmp_path / "log.pub")).text() == KEY.text()


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("none.pub", "--key: must be a public key or an existing file that contains one: "),
        (PRIVATE_KEY_PREFIX + "x+00000000+AAAA", "--key: must be the log's public key, got a private key; "),
    ],
)
def test_anything_except_a_public_key_is_rejected_and_a_private_key_is_not_repeated(key: str, rule: str) -> None:
    with pytest.raises(KeyMalformed, match=re.escape(rule)) as caught:
        parse_key_option(key)

    assert "AAAA" not in str(caught.value)
