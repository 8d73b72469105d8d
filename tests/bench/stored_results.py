"""Stores results as files, together with the command, the commit and the machine of the measurement."""

import datetime as dt
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import ROOT

HISTORY = ROOT / "tests" / "bench" / "history"
LIBRARIES = ("lightgbm", "onnxruntime", "shap", "treelite", "numpy", "grpcio")


def provenance() -> dict[str, Any]:
    """Return the command, the commit and the state of the machine; call this function before measuring."""
    return {
        "command": " ".join(["python -m tests.bench", *sys.argv[1:]]),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
    }


def write_results(what: str, measured_on: dict[str, Any], results: dict[str, Any]) -> Path:
    """Write results to a new file in the history; return the path of the file."""
    begun = dt.datetime.fromisoformat(measured_on["at"])
    HISTORY.mkdir(exist_ok=True)
    path = HISTORY / f"{begun:%Y-%m-%d-%H%M}-{measured_on['commit']}-{what}.json"
    whole = {"what": what, **measured_on, "results": results}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path


def _machine() -> dict[str, Any]:
    """Return properties of the machine, and the versions of libraries."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": processor,
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _git(*words: str) -> str:
    """Return the output of a git command."""
    return subprocess.run(
        ["/usr/bin/env", "git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def latest_results(what: str) -> dict[str, Any]:
    """Return the newest results of a kind."""
    path = max(HISTORY.glob(f"*-{what}.json"))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
