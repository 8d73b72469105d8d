"""The command `fit`."""

import datetime as dt
from pathlib import Path

from training.commands.release_steps import read_family_rows, show_release
from training.console import Console
from training.release.model_release import release_model
from training.spec import read_spec, spec_digest


def fit_family(
    spec_file: Path,
    bundles: Path,
    files: Path,
    data: Path | None,
    status: Path | None,
    threads: int,
    on: dt.date | None = None,
) -> None:
    """Fit a model, check it, and write its bundle and the feature file of its customers.

    The model is exported to ONNX. The exported files are proved equal to the model and are measured on the hold-out. If
    a release gate of the spec fails, the report of the rejected model is written and nothing else.
    """
    console = Console(threads)
    spec = read_spec(spec_file, on)
    console.info(f"{spec.family}: {spec.title}")
    rows = read_family_rows(spec, spec_file, files, data, status, console)
    release = release_model(rows.spec, spec_digest(spec_file), rows.samples, bundles, console, rows.rejected)
    show_release(rows, release, console)
