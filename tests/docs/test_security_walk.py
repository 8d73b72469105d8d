"""The commands of docs/security.md, executed as written: mTLS, three roles, and a refused credit score for the CRM."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Released, as_environment

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROGRAMS = ("grounds-server", "grounds")
WORDS_IN_TEN_MINUTES = 2000
START_SECONDS_MAX = 120
REFUSAL_SECONDS_MAX = 120  # the server records refused calls once a minute


def walk_lines() -> list[str]:
    """Return the lines of the code blocks of the walk, in their order."""
    section = PAGE.split("## Try it on one machine\n")[1].split("\n## ")[0]
    return re.findall(r"^    (\S.*)$", section, flags=re.MULTILINE)


def test_a_newcomer_reads_the_page_in_less_than_ten_minutes() -> None:
    assert len(PAGE.split()) < WORDS_IN_TEN_MINUTES


@pytest.mark.timeout(1200)
def test_a_newcomer_who_follows_the_walk_scores_as_the_loan_desk_and_is_refused_as_the_crm(
    released: Released, tmp_path: Path
) -> None:
    """The commands run in a new folder, in which the programs are installed as in a checkout."""
    make_certificates, serve, change_folder, score, refused, error, list_refusals = walk_lines()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    environment = {
        **os.environ,
        "GROUNDS_PORT": "0",
        **as_environment(released.copy_stores(tmp_path)),
    }

    def run(command: str) -> subprocess.CompletedProcess[str]:
        """Run lines of the walk in a shell."""
        return subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    made = run(make_certificates)
    assert made.returncode == 0, made.stderr
    log = tmp_path / "server.log"
    with log.open("w") as lines:
        server = subprocess.Popen(["/bin/bash", "-c", f"exec {serve}"], cwd=tmp_path, env=environment, stderr=lines)
    try:
        environment["GROUNDS_ADDRESS"] = wait_for_address(log)
        scored = run(f"{change_folder}\n{score}")
        assert scored.returncode == 0, scored.stderr
        assert "148" in scored.stdout
        denied = run(f"{change_folder}\n{refused}")
        assert (denied.returncode, denied.stdout, denied.stderr.strip()) == (1, "", error)
        deadline = time.monotonic() + REFUSAL_SECONDS_MAX
        while "METHOD_NOT_ALLOWED" not in (seen := run(f"{change_folder}\n{list_refusals}")).stdout:
            assert seen.returncode == 0, seen.stderr
            assert time.monotonic() < deadline, seen.stdout
            time.sleep(2)
        assert "crm" in seen.stdout
    finally:
        server.terminate()
        assert server.wait(60) == 0


def wait_for_address(log: Path) -> str:
    """Wait until a server accepts calls; return its address."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if event.get("event") == "serving":
                return str(event["address"])
        time.sleep(0.05)
    raise AssertionError(log.read_text())
