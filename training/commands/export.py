"""The command `export`."""

from pathlib import Path

from training.commands.release_steps import read_family_rows, show_release
from training.console import Console
from training.errors import SpecInvalid
from training.export.trees import read_ensemble
from training.external_features import match_features
from training.external_model import equivalence_table, export_model
from training.model_file import read_model_file
from training.release.external_release import release_external_model
from training.spec import read_spec, spec_digest


def check_export_options(
    to: Path | None, spec: Path | None, baseline: Path | None, data: Path | None, status: Path | None
) -> None:
    """Raise SpecInvalid for options of `export` that exclude each other."""
    if (to is None) == (spec is None):
        raise SpecInvalid(
            "export: set exactly one of --spec SPEC.toml (writes a bundle) and --to DIR (writes the ONNX files)"
        )
    if spec is not None and baseline is not None:
        raise SpecInvalid(
            "--baseline: the baseline of a bundle is selected by [baseline] of the spec; remove --baseline"
        )
    if spec is None and (data is not None or status is not None):
        raise SpecInvalid("--data and --status require --spec SPEC.toml, which states how to read them")


def export_booster(model: Path, to: Path, baseline: Path | None) -> None:
    """Export a binary LightGBM model that was fitted elsewhere to ONNX, and prove that the files equal the model."""
    console = Console(1)
    report = export_model(model, to, baseline, console)
    console.print_table(equivalence_table(report))
    console.info(f"base value: {report.base_margin!r}, in the unit of the margin")
    console.info(f"wrote the files: {to}")
    console.info("margins are exact with ONNX Runtime on one thread: SessionOptions.intra_op_num_threads = 1")


def export_bundle(
    model: Path, spec_file: Path, bundles: Path, files: Path, data: Path | None, status: Path | None, threads: int
) -> None:
    """Calibrate, export, check and measure a LightGBM model that was fitted elsewhere, and write its bundle.

    The model is checked before the data are read, so that a model that cannot be exported is rejected within seconds.
    """
    console = Console(threads)
    spec = read_spec(spec_file)
    console.info(f"{spec.family}: {spec.title}")
    file = read_model_file(model)
    ensemble = read_ensemble(file.booster)
    spec = match_features(spec, file.booster, ensemble)
    console.info(f"{file.name}: {len(ensemble.trees)} trees, {ensemble.feature_count} features")
    rows = read_family_rows(spec, spec_file, files, data, status, console)
    release = release_external_model(
        rows.spec, spec_digest(spec_file), rows.samples, file, ensemble, bundles, console, rows.rejected
    )
    show_release(rows, release, console)
