"""What training prints at the end: tables that a person reads from top to bottom."""

from rich.table import Table

from training.evaluate import Quality
from training.findings import Findings
from training.samples import Samples


def waterfall_table(samples: Samples) -> Table:
    """Show how the rows read became the rows used."""
    table = Table(title="Rows", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, count in samples.waterfall:
        table.add_row(what, f"{count:,}")
    for part in ("FIT", "CALIBRATION", "HOLD_OUT"):
        rows = samples.part(part)
        table.add_row(f"part {part}", f"{len(rows):,} ({int(rows['label'].sum()):,} bad)")
    return table


def quality_table(findings: Findings) -> Table:
    """Show the model beside the simpler rules, on the same rows."""
    table = Table(title="On rows that were not looked at before", title_justify="left")
    table.add_column("rule")
    for figure in ("rows", "AUC", "Gini", "KS", "Brier", "ECE", "mean pd", "bad rate"):
        table.add_column(figure, justify="right")
    add(table, "this model, from score.onnx", findings.test)
    for period, found in findings.periods.items():
        add(table, f"  snapshot {period}", found)
    for name, found in findings.rivals.items():
        add(table, name, found)
    return table


def add(table: Table, name: str, found: Quality) -> None:
    """Add one line."""
    figures = (found.auc, found.gini, found.ks, found.brier, found.ece)
    rates = (f"{found.mean_pd:.2%}", f"{found.bad_rate:.2%}")
    table.add_row(name, f"{found.rows:,}", *(f"{figure:.4f}" for figure in figures), *rates)


def facts(findings: Findings) -> list[str]:
    """Say the rest in sentences."""
    lines = [
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in findings.parameters.items()
    ]
    said = ["parameters: " + ", ".join(lines)]
    if findings.cross_validation:
        signed, unsigned = findings.cross_validation["signed"], findings.cross_validation["unsigned"]
        said.append(
            f"cross-validated AUC on all rows: {signed:.4f} with the sign table in force, {unsigned:.4f} without it"
        )
    kinds = findings.verdict.kinds
    examined = ", ".join(f"{kind.rows:,} {kind.kind}" for kind in kinds)
    distance, residual = max(kind.contribution_distance for kind in kinds), max(kind.residual for kind in kinds)
    said.append(
        f"gate passed: margins equal LightGBM's to the bit on {examined} rows; contributions ({findings.verdict.method}) "
        f"within {distance:.1e} of the definition, sums within {residual:.1e}"
    )
    return said
