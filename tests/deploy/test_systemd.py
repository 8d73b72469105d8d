"""The systemd units are accepted by systemd itself, and give the server enough time to stop."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from server.config import Settings
from tests.conftest import ROOT

UNIT = ROOT / "deploy/systemd/grounds.service"
ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed; Debian's package systemd contains it")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """The planted fault, a misspelt directive, is reported."""
    text = UNIT.read_text().replace("/opt/grounds/bin/grounds-server", "/bin/true")
    problems = []
    for content in (text, text.replace("StateDirectory=", "StateDirectori=", 1)):
        unit = tmp_path / UNIT.name
        unit.write_text(content)
        done = subprocess.run([str(ANALYZE), "verify", str(unit)], check=False, capture_output=True, text=True)
        problems.append([line for line in done.stderr.splitlines() if UNIT.name in line])

    assert problems[0] == []
    assert "StateDirectori" in problems[1][0]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed; Debian's package systemd contains it")
def test_systemd_accepts_the_timer_of_the_weekly_cycle_and_its_service(tmp_path: Path) -> None:
    """The planted fault, a day that does not exist, is reported."""
    folder, problems = UNIT.parent, []
    for day in ("Mon", "Mun"):
        service, timer = tmp_path / "grounds-cycle.service", tmp_path / "grounds-cycle.timer"
        service.write_text((folder / service.name).read_text().replace("/opt/grounds/bin/grounds-train", "/bin/true"))
        timer.write_text((folder / timer.name).read_text().replace("=Mon ", f"={day} "))
        done = subprocess.run(
            [str(ANALYZE), "verify", str(service), str(timer)], check=False, capture_output=True, text=True
        )
        problems.append([line for line in done.stderr.splitlines() if "grounds-cycle" in line])

    assert problems[0] == []
    assert "Failed to parse calendar" in " ".join(problems[1])


def test_systemd_waits_longer_than_the_server_needs_to_stop() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # directives are case-sensitive
    unit.read_string(UNIT.read_text())

    seconds = Settings.model_fields["drain_seconds_max"].default
    assert float(unit["Service"]["TimeoutStopSec"]) > seconds + 10  # the supervisor kills a worker after this time
