"""ONNX Runtime tells nobody what it does here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.small import SmallFamily

OURS = "from models.scoring import session; session(open(sys.argv[1], 'rb').read(), ('margin',))"
BARE = "import onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"


def left_behind(program: str, graph: Path, home: Path) -> list[Path]:
    """Open a graph as a user with an empty home folder; gives the files that are there afterwards."""
    home.mkdir()
    # The runtime keeps still where it sees a CI, and so would prove nothing there.
    told = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    told = {name: value for name, value in told.items() if not name.startswith(("GITHUB_", "XDG_"))}
    told |= {
        "HOME": str(home),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }  # sends nowhere
    command = [sys.executable, "-c", f"import sys; {program}", str(graph)]
    subprocess.run(command, cwd=ROOT, env=told, check=True, timeout=60)
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.fixture
def graph(small: SmallFamily, tmp_path: Path) -> Path:
    """Give a score.onnx."""
    path = tmp_path / "score.onnx"
    path.write_bytes(small.bundle().score)
    return path


def test_nothing_is_kept_to_be_sent(graph: Path, tmp_path: Path) -> None:
    assert left_behind(OURS, graph, tmp_path / "home") == []


def test_the_runtime_alone_would_keep_what_it_sends(graph: Path, tmp_path: Path) -> None:
    """The fault planted: without our setting the same look finds its files."""
    assert left_behind(BARE, graph, tmp_path / "home") != []
