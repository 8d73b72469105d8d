"""Files and reasons with hidden characters are rejected; the application log and commands show escapes instead."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from server.application_log import LogWriter
from server.commands.output import print_error, print_line
from server.decisions.policy import read_policy
from server.decisions.retention import read_retention
from server.errors import ErasureRefused, LoadRefused, OperatorError, PolicyRefused, RetentionRefused
from server.load.files import _read_manifest
from server.maintenance.erasure import check_reason
from tests.server.decisions.test_retention import TABLE
from tests.server.load.test_files import GOOD, NAMES, write
from tests.small import POLICY

HOSTILE = "a\x1b[2J\x7f\x9b\u202e\u2028"


@pytest.mark.parametrize(
    ("read", "content", "error", "place"),
    [
        (read_policy, POLICY.replace('version = "', 'version = "\\u202e', 1), PolicyRefused, "version"),
        (read_retention, TABLE.replace("test-1", "\\u001b[2J"), RetentionRefused, "version"),
    ],
)
def test_a_file_with_hidden_characters_is_rejected_with_their_place(
    tmp_path: Path, read: Callable[[Path], object], content: str, error: type[OperatorError], place: str
) -> None:
    path = tmp_path / "file.toml"
    path.write_text(content)

    with pytest.raises(error, match=f"{place}: must not contain control or invisible characters, found"):
        read(path)


def test_a_manifest_with_hidden_characters_is_rejected(tmp_path: Path) -> None:
    manifest = {"format": 1, "kind": "features", "family": HOSTILE, "feature_set_digest": "", "feature_names": NAMES}

    with pytest.raises(LoadRefused, match=r"manifest: family: must not contain control or invisible characters"):
        _read_manifest(write(tmp_path / "file.parquet", GOOD, manifest))


def test_a_reason_with_hidden_characters_is_rejected() -> None:
    with pytest.raises(
        ErasureRefused, match=r"--reason must not contain control or invisible characters, found \\u202e"
    ):
        check_reason("request\u202e 7", None)


def test_a_line_of_the_application_log_is_ascii_without_controls() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(writing)

    rendered = structlog.processors.JSONRenderer()(None, "", {"event": "x", "text": HOSTILE})
    writer.write(f"{rendered!s}\n")
    writer.wait_until_written()

    line = os.read(reading, 4096)
    assert line.isascii()
    assert line.decode().removesuffix("\n").isprintable()
    assert json.loads(line)["text"] == HOSTILE


def test_commands_print_hidden_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"record 7: {HOSTILE}\nforged line")
    print_error(f"error: {HOSTILE}\n  second line")

    printed = capsys.readouterr()
    assert printed.out == r"record 7: a\x1b[2J\x7f\x9b\u202e\u2028\nforged line" + "\n"
    assert printed.err == r"error: a\x1b[2J\x7f\x9b\u202e\u2028" + "\n  second line\n"
