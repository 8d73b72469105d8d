"""Tables and lines that training prints in the terminal."""

from collections.abc import Sequence

from rich.table import Table

from training.evaluation.model_evaluation import SAMPLE_PARTS, ModelEvaluation
from training.evaluation.release_gates import GateResult, format_figure
from training.measures.quality import Quality
from training.report.headline import headline
from training.sources.samples import Samples
from training.validation.campaign import CampaignFindings


def waterfall_table(samples: Samples) -> Table:
    """Return the table of row counts at each step from the rows that were read to the rows that are used."""
    table = Table(title="Rows", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, count in samples.waterfall:
        table.add_row(what, f"{count:,}")
    for part in SAMPLE_PARTS:
        rows = samples.part(part)
        if rows.empty:
            continue
        table.add_row(f"part {part}", f"{len(rows):,} ({int(rows['label'].sum()):,} bad)")
    return table


def quality_table(evaluation: ModelEvaluation) -> Table:
    """Return the table of quality measures of the model and the rivals, on the same rows."""
    table = Table(title="Hold-out", title_justify="left")
    table.add_column("rule")
    for figure in ("rows", "AUC", "Gini", "KS", "Brier", "ECE", "mean pd", "bad rate"):
        table.add_column(figure, justify="right")
    _add_row(table, "this model, from score.onnx", evaluation.test_quality)
    for period, found in evaluation.periods.items():
        _add_row(table, f"  snapshot {period}", found)
    for name, rival in evaluation.rivals.items():
        _add_row(table, name, rival.quality)
    return table


def campaign_table(found: CampaignFindings) -> Table:
    """Return the table of campaign results, model by model."""
    table = Table(title="Results of a campaign on the customers with the highest risk", title_justify="left")
    table.add_column("rule")
    for figure in (
        "AUC, 95 % interval",
        "PR-AUC",
        "lift in the top tenth",
        "captured at capacity",
        "EMPC per customer",
    ):
        table.add_column(figure, justify="right")
    for name, one in {"this model, from score.onnx": found.model, **found.rivals}.items():
        auc = f"{one.auc.low:.4f} to {one.auc.high:.4f}" if one.auc else "-"
        captured = "-" if one.capture_rate is None else f"{one.capture_rate:.1%}"
        profit = "-" if one.profit is None else f"{one.profit.empc:.4f}"
        table.add_row(name, auc, f"{one.pr_auc:.4f}", f"{one.lift:.2f}", captured, profit)
    return table


def gates_table(lines: Sequence[GateResult]) -> Table:
    """Return the table of the release gates."""
    table = Table(title="Release gates", title_justify="left")
    for column in ("figure", "value", "must be", ""):
        table.add_column(column, justify="right" if column == "value" else "left")
    for line in lines:
        shown = "-" if line.value is None else format_figure(line.value)
        table.add_row(line.figure, shown, line.bound, "passed" if line.passed else "FAILED")
    return table


def _add_row(table: Table, name: str, found: Quality) -> None:
    """Append one row to a table."""
    figures = (found.auc, found.gini, found.ks, found.brier, found.ece)
    rates = (f"{found.mean_pd:.2%}", f"{found.bad_rate:.2%}")
    table.add_row(name, f"{found.rows:,}", *(f"{figure:.4f}" for figure in figures), *rates)


def summary_lines(evaluation: ModelEvaluation, accepted: str | None) -> list[str]:
    """Return sentences on the best rival (`accepted` is the one that the model may be behind), the search, parameters, equivalence check, calibration noise, leak alarms and remarks."""
    lines = [
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in evaluation.parameters.items()
    ]
    sentences = [
        headline(evaluation.test_quality, evaluation.rivals, accepted),
        *search_sentences(evaluation),
        "parameters: " + ", ".join(lines),
    ]
    if evaluation.cross_validation:
        signed, unsigned = evaluation.cross_validation["signed"], evaluation.cross_validation["unsigned"]
        sentences.append(
            f"cross-validated AUC on all rows: {signed:.4f} with the signs of the spec, {unsigned:.4f} without them"
        )
    kinds = evaluation.equivalence.kinds
    examined = ", ".join(f"{kind.rows:,} {kind.kind}" for kind in kinds)
    distance, residual = max(kind.contribution_distance for kind in kinds), max(kind.residual for kind in kinds)
    sentences.append(
        f"equivalence check passed: margins equal LightGBM's to the bit on {examined} rows; contributions ({evaluation.equivalence.method}) "
        f"within {distance:.1e} of the definition, sums within {residual:.1e}"
    )
    noise = evaluation.calibration.ece_noise
    sentences.append(
        f"ECE {evaluation.test_quality.ece:.4f} over 10 bins of equal mass; perfect pds would show {noise.mean:.4f} "
        f"on average, and up to {noise.quantile_95:.4f} in 95 of 100 cases ({noise.draws:,} draws)"
    )
    return [*sentences, *leak_alarms(evaluation), *evaluation.remarks]


def search_sentences(evaluation: ModelEvaluation) -> list[str]:
    """Return a sentence on which kind of model the search chose, and by how much it was better; none without a choice."""
    if len(evaluation.search) < 2:  # noqa: PLR2004 - a choice between two
        return []
    chosen, *others = evaluation.search
    compared = "; ".join(
        f"{one.name}: {one.log_loss - chosen.log_loss:+.5f}"
        + ("" if one.auc is None or chosen.auc is None else f" (AUC {one.auc - chosen.auc:+.4f})")
        for one in others
    )
    auc = "" if chosen.auc is None else f", AUC {chosen.auc:.4f}"
    return [
        f"chosen by the validation folds: {chosen.name}, log-loss {chosen.log_loss:.5f}{auc}. Compared with it, {compared}"
    ]


def leak_alarms(evaluation: ModelEvaluation) -> list[str]:
    """Return one line for each explanation of the spec, with the features whose information value suggests leakage."""
    features_by_reason: dict[str, list[str]] = {}
    for name, feature in evaluation.features.items():
        if feature.leak_suspected:
            reason = (
                feature.acknowledged
                or "not explained; check the feature, and then add the explanation to [[leaks_acknowledged]]"
            )
            features_by_reason.setdefault(reason, []).append(f"{name} {feature.information.iv:.2f}")
    return [
        f"leak alarm, information value above 0.5: {', '.join(names)}: {reason}"
        for reason, names in features_by_reason.items()
    ]
