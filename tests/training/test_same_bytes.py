"""The same spec and data give the same files, byte for byte."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, Released


def digests(folder: Path) -> dict[str, str]:
    """Give the digest of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ACTIVE.toml")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_second_run_with_one_thread_gives_the_same_bytes(released: Released, tmp_path: Path) -> None:
    bundles, files = tmp_path / "bundles", tmp_path / "files"
    where = ["--threads", "1", "--bundles", str(bundles), "--files", str(files)]

    runs = [
        subprocess.Popen([sys.executable, "-m", "training", "fit", f"training/{family}.toml", *where], cwd=ROOT)
        for family in ("credit", "churn")
    ]
    statuses = [process.wait() for process in runs]

    assert statuses == [0, 0]
    assert digests(bundles) == digests(released.bundles)
    for features in ("credit.features.parquet", "churn.features.parquet"):
        assert (files / features).read_bytes() == (released.files / features).read_bytes()
