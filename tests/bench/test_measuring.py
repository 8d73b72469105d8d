"""Benchmarks do not use the developer's keys and bundles, and need --bundles and --files together or neither."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bench.__main__ import app
from tests.bench.feed import measure_feed


def test_the_feed_is_measured_without_the_developers_own_keys_and_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The developer's keys are set to a folder that does not exist, so a benchmark that used these keys would fail."""
    nowhere = tmp_path / "nowhere"
    monkeypatch.setenv("GROUNDS_KEYS", f"sqlite:///{nowhere / 'keys.db'}")
    monkeypatch.setenv("GROUNDS_MASTER_KEY", str(nowhere / "master.key"))
    monkeypatch.setenv("GROUNDS_SIGNING_KEY", str(nowhere / "signing.key"))

    found = measure_feed(1000, lambda _line: None)

    assert [found[way]["customers"] for way in ("sync", "by_probability", "by_value")] == [1000] * 3


@pytest.mark.parametrize("given", ["--bundles", "--files"])
@pytest.mark.parametrize("command", ["explanation", "recourse", "serving", "record", "churn", "audit"])
def test_bundles_without_files_and_files_without_bundles_are_refused(command: str, given: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, given, str(tmp_path)])

    assert done.exit_code == 2
    assert "--bundles and --files go together" in " ".join(done.stderr.replace("│", " ").split())
