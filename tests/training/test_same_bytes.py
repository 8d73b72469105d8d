"""The same spec and data produce the same files, byte for byte."""

import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT, Released


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ACTIVE.toml")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fit_bundle(spec: Path, to: Path, *arguments: str) -> str:
    """Fit a family, write the files to a folder, and return the output of the command."""
    where = ["--bundles", str(to / "bundles"), "--files", str(to / "files"), *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "training", "fit", str(spec), *where],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.timeout(300)
def test_a_second_run_with_another_number_of_threads_produces_the_same_bytes(tmp_path: Path) -> None:
    """The search is shorter than that of the released model, because the search is slow."""
    text = (ROOT / "training/credit.toml").read_text(encoding="utf-8")
    shorter = tmp_path / "credit.toml"
    shorter.write_text(re.sub(r"^trials = \d+$", "trials = 3", text, flags=re.MULTILINE), encoding="utf-8")
    data = ("--data", str(ROOT / "training/data/uci_default_of_credit_card_clients.parquet"))
    runs = [
        (shorter, tmp_path / "one", "--threads", "1", *data),
        (shorter, tmp_path / "two", "--threads", "2", *data),
    ]

    with ThreadPoolExecutor(2) as pool:
        printed = list(pool.map(lambda run: fit_bundle(*run), runs))

    assert "search: 6 steps" in printed[0]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_released_churn_files_are_written_again_byte_for_byte_with_one_thread(
    released: Released, tmp_path: Path
) -> None:
    fit_bundle(ROOT / "training/churn.toml", tmp_path / "churn", "--threads", "1")

    assert digests(tmp_path / "churn/bundles/churn") == digests(released.bundles / "churn")
    features = "churn.features.parquet"
    assert (tmp_path / "churn/files" / features).read_bytes() == (released.files / features).read_bytes()
