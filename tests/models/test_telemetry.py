"""ONNX Runtime sends no telemetry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.small import SmallFamily

OURS = "from models.onnx_scorer import open_session; open_session(open(sys.argv[1], 'rb').read(), ('margin',))"
BARE = "import onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"


def files_written(program: str, graph: Path, home: Path) -> list[Path]:
    """Open a graph as a user with an empty home folder; return the files that exist afterwards."""
    home.mkdir()
    # The runtime reports nothing on a CI machine, so the variables that mark a CI machine are removed.
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environment = {name: value for name, value in environment.items() if not name.startswith(("GITHUB_", "XDG_"))}
    environment |= {
        "HOME": str(home),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }  # nothing listens on port 9 of this machine, so no report is sent
    command = [sys.executable, "-c", f"import sys; {program}", str(graph)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60)
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.fixture
def graph(small: SmallFamily, tmp_path: Path) -> Path:
    """Write a score.onnx."""
    path = tmp_path / "score.onnx"
    path.write_bytes(small.bundle().score)
    return path


def test_no_report_is_cached(graph: Path, tmp_path: Path) -> None:
    assert files_written(OURS, graph, tmp_path / "home") == []


def test_without_our_setting_the_runtime_caches_reports(graph: Path, tmp_path: Path) -> None:
    """Show that the check works: without our setting, it finds files."""
    assert files_written(BARE, graph, tmp_path / "home") != []
