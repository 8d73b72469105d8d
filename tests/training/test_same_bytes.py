"""The same spec and data give the same files, byte for byte."""

import hashlib
from pathlib import Path

import pytest

from tests.conftest import ROOT, Released, run


def digests(folder: Path) -> dict[str, str]:
    """Give the digest of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ACTIVE.toml")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("family", ["credit", "churn"])
def test_a_second_run_with_one_thread_gives_the_same_bytes(family: str, released: Released, tmp_path: Path) -> None:
    bundles, files = tmp_path / "bundles", tmp_path / "files"

    run(
        *("training", "fit", f"training/{family}.toml", "--threads", "1"),
        *("--bundles", str(bundles), "--files", str(files)),
        cwd=ROOT,
    )

    assert digests(bundles) == {
        name: digest for name, digest in digests(released.bundles).items() if name.startswith(family)
    }
    features = f"{family}.features.parquet"
    assert (files / features).read_bytes() == (released.files / features).read_bytes()
