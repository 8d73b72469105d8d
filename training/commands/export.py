"""The command `export`."""

from pathlib import Path

from training.console import Console
from training.external_model import equivalence_table, export_model


def export_booster(model: Path, to: Path, baseline: Path | None) -> None:
    """Export a binary LightGBM model that was fitted elsewhere to ONNX, and prove that the files equal the model."""
    console = Console(1)
    report = export_model(model, to, baseline, console)
    console.print_table(equivalence_table(report))
    console.info(f"base value: {report.base_margin!r} log-odds")
    console.info(f"wrote the files: {to}")
    console.info("margins are exact with ONNX Runtime on one thread: SessionOptions.intra_op_num_threads = 1")
