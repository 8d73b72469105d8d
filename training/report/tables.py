"""The tables of the report, each with one sentence on how to read it."""

from collections.abc import Sequence

from training.evaluation.model_evaluation import ModelEvaluation
from training.evaluation.release_gates import GateResult, format_figure
from training.measures.fairness import FairnessResult, GroupFairness
from training.measures.proportions import Estimate
from training.measures.swap import SwapSet
from training.report.markup import interval_text, percent, percent_interval_text, table
from training.sources.samples import Samples
from training.spec import Spec
from training.validation.drift import FeatureStatistics
from training.validation.reject_sensitivity import RejectFindings
from training.validation.rivals import SwapComparison

_PART_TITLES = {
    "FIT": "fit: parameters and trees",
    "CALIBRATION": "calibration: slope and intercept",
    "HOLD_OUT": "hold-out: evaluated once",
    "OUT_OF_TIME": "out of time: later, evaluated once",
}
_EXTERNAL_PART_TITLES = {"FIT": "fit: rivals and baseline (the model was fitted elsewhere)"}
# Titles of the cells of a swap set, by name of the cell.
CELL_TITLES = {
    "both_approved": "both approve",
    "swapped_in": "only this model approves",
    "swapped_out": "only the scorecard approves",
    "both_declined": "neither approves",
}
_SIGN_TEXTS = {1: "more is riskier", -1: "more is safer", 0: "none"}


def gate_table(lines: Sequence[GateResult]) -> str:
    """Return the table of the release gates."""
    rows = [
        (
            line.figure,
            "" if line.value is None else format_figure(line.value),
            line.bound,
            "passed" if line.passed else "FAILED",
        )
        for line in lines
    ]
    reading = "Each line is a bound of the spec. A model that fails a release gate is not released."
    return table("Release gates.", reading, ("figure", "value", "must be", "verdict"), rows)


def waterfall_table(samples: Samples) -> str:
    """Return the table of row counts at each step from the rows that were read to the rows that are used."""
    rows = [(what, f"{count:,}") for what, count in samples.waterfall]
    reading = "From the rows read to the rows used. Each excluded row is counted under exactly one code, so the counts add up."
    return table("Rows.", reading, ("what", "count"), rows)


def column_table(samples: Samples) -> str:
    """Return the table of the columns of the source, and what each of them is used as."""
    rows = [(column.column, column.use, column.detail, column.first_odd) for column in samples.columns]
    reading = f"Every column of the source is used or left out. {samples.confirmation}."
    return table("Columns.", reading, ("column", "used as", "how it was read", "first odd value"), rows)


def part_table(evaluation: ModelEvaluation) -> str:
    """Return the table of the parts of the split."""
    titles = _PART_TITLES | (_EXTERNAL_PART_TITLES if evaluation.fitted_elsewhere else {})
    named = [(titles[part], found) for part, found in evaluation.parts.items()]
    named += [(f"hold-out, snapshot {period}", found) for period, found in evaluation.periods.items()]
    rows = [
        (
            name,
            f"{found.rows:,}",
            f"{found.bads:,}",
            percent(found.bad_rate),
            percent(found.mean_pd),
            f"{found.auc:.4f}",
            f"{found.gini:.4f}",
        )
        for name, found in named
    ]
    reading = "The model was fitted on the first part. A much lower AUC on the hold-out indicates overfitting."
    if evaluation.fitted_elsewhere:
        reading = (
            "The model was fitted elsewhere. Figures of rows that it was fitted on are too good. Training cannot know which rows "
            "these are."
        )
    return table("Samples.", reading, ("part", "rows", "bad", "bad rate", "mean pd", "AUC", "Gini"), rows)


def rival_table(evaluation: ModelEvaluation) -> str:
    """Return the table of the model and the rivals."""
    named = [("this model", evaluation.test_quality, "", "")]
    for name, rival in evaluation.rivals.items():
        ahead = interval_text(rival.auc_lead.low, rival.auc_lead.high) if rival.auc_lead else ""
        named.append((name, rival.quality, f"{evaluation.test_quality.auc - rival.quality.auc:+.4f}", ahead))
    rows = [
        (name, f"{q.auc:.4f}", f"{q.gini:.4f}", f"{q.ks:.4f}", f"{q.brier:.4f}", f"{q.ece:.4f}", lead, interval)
        for name, q, lead, interval in named
    ]
    head = ("model", "AUC", "Gini", "KS", "Brier", "ECE", "lead of this model (AUC)", "95 % interval")
    reading = "All models are measured on the same rows. If the interval of the lead contains 0, the simpler model may be as good."
    return table("Comparison with simpler models.", reading, head, rows)


def search_table(evaluation: ModelEvaluation) -> str:
    """Return the table of the kinds of model that the search compared; empty if there was nothing to compare."""
    if len(evaluation.search) < 2:  # noqa: PLR2004 - a choice between two
        return ""
    chosen = evaluation.search[0]
    rows = [
        (
            one.name,
            f"{one.log_loss:.5f}",
            "chosen" if one is chosen else f"{one.log_loss - chosen.log_loss:+.5f}",
            "" if one.auc is None else f"{one.auc:.4f}",
            "" if one.auc is None or chosen.auc is None or one is chosen else f"{one.auc - chosen.auc:+.4f}",
        )
        for one in evaluation.search
    ]
    head = ("model", "log-loss", "compared with the chosen one", "AUC", "compared with the chosen one")
    reading = "The validation folds of the fit part decide; no row of the calibration part or the hold-out takes part. The lowest log-loss is chosen."
    return table("Choice of the model.", reading, head, rows)


def reject_table(found: RejectFindings) -> str:
    """Return the table of the sensitivity run with rejected applicants."""
    rows = [
        (
            "this model, without them" if one.bad_share is None else f"{one.bad_share:.1%} of them bad",
            f"{one.auc:.4f}",
            percent(one.mean_pd),
            "" if one.rejected_mean_pd is None else percent(one.rejected_mean_pd),
            percent(one.grade_changes),
            "" if one.approved is None else percent(one.approved),
            "" if one.rejected_approved is None else percent(one.rejected_approved),
        )
        for one in found.scenarios
    ]
    head = ("fitted", "AUC", "mean pd", "mean pd, rejected", "other grade", "approved", "approved, rejected")
    reading = (
        "Each line below the first is a fit that also uses the rejected applicants of the fit and calibration parts, with assumed "
        "outcomes. All figures are those of the hold-out, or of the rejected applicants in the hold-out part."
    )
    return table("Rejected applicants.", reading, head, rows)


def ranking_table(evaluation: ModelEvaluation) -> str:
    """Return the table of ranking measures with intervals, overall and by market."""
    found = evaluation.ranking
    named = [("AUC", found.auc), ("Gini", found.gini), ("KS", found.ks)]
    rows = [(name, f"{one.estimate:.4f}", interval_text(one.low, one.high), "") for name, one in named if one]
    for market in found.markets:
        counts = f"{market.rows:,} rows, {market.bads:,} bad"
        value = f"{market.gini.estimate:.4f}" if market.gini else ""
        ends = interval_text(market.gini.low, market.gini.high) if market.gini else ""
        rows.append((f"Gini, market {', '.join(market.markets)}", value, ends, counts))
    reading = "An interval contains 95 % of the bootstrap draws of whole customers. Markets with fewer than 50 bads are pooled."
    return table("Ranking, with intervals.", reading, ("figure", "value", "95 % interval", "of"), rows)


def calibration_table(evaluation: ModelEvaluation) -> str:
    """Return the table of calibration figures with their ideal values."""
    found, noise = evaluation.calibration, evaluation.calibration.ece_noise
    rows = [
        (
            "ECE, 10 bins of equal mass",
            f"{evaluation.test_quality.ece:.4f}",
            f"chance alone: {noise.mean:.4f}, up to {noise.quantile_95:.4f}",
        )
    ]
    if found.in_the_large:
        rows += [
            (
                "mean pd less bad rate",
                f"{100 * found.in_the_large.difference:+.2f} percentage points",
                "0; above 0, probabilities are too high",
            ),
            ("bads minus the sum of pds, in standard deviations (z)", f"{found.in_the_large.z:+.2f}", "-2 to 2"),
        ]
    if found.recalibration:
        rows += [
            ("slope", f"{found.recalibration.slope:.3f}", "1; below 1, the pds are too extreme"),
            ("intercept", f"{found.recalibration.intercept:+.3f}", "0"),
        ]
    brier = found.brier
    rows += [
        ("Brier score", f"{brier.brier:.4f}", "low; reliability - resolution + uncertainty + within bins"),
        ("reliability", f"{brier.reliability:.5f}", "0"),
        ("resolution", f"{brier.resolution:.5f}", "high"),
        ("uncertainty", f"{brier.uncertainty:.5f}", "determined by the bad rate"),
        ("within bins", f"{brier.within_bins:.5f}", "near 0"),
    ]
    if found.hosmer_lemeshow:
        shown = f"{found.hosmer_lemeshow.statistic:.1f} (p {found.hosmer_lemeshow.p_value:.3f})"
        rows.append(
            ("Hosmer-Lemeshow, 10 groups", shown, "p not small; with many rows, irrelevant differences are significant")
        )
    return table("Calibration.", "Measured values next to their ideal values.", ("figure", "measured", "ideal"), rows)


def grade_table(evaluation: ModelEvaluation) -> str:
    """Return the table of grades."""
    rows = []
    for grade in evaluation.calibration.grades:
        test, rate = grade.test, grade.bad_rate
        rows.append(
            (
                test.grade,
                f"{100 * grade.min_pd:g} to {100 * grade.max_pd:g} %",
                f"{test.rows:,}",
                percent(grade.share),
                percent(grade.development_share),
                percent(test.pd) if test.rows else "",
                percent(test.bad_rate),
                percent_interval_text(rate.low, rate.high) if rate else "",
                "" if test.jeffreys_p is None else f"{test.jeffreys_p:.3f}",
                "" if test.binomial_p is None else f"{test.binomial_p:.3f}",
            )
        )
    head = (
        "grade",
        "pd",
        "rows",
        "share",
        "at development",
        "mean pd",
        "bad rate",
        "95 % interval",
        "Jeffreys p",
        "binomial p",
    )
    reading = "Bad rates should rise from grade to grade. A p-value below 0.05 indicates that the probability of the grade is too low."
    return table("Master scale.", reading, head, rows)


def feature_table(spec: Spec, evaluation: ModelEvaluation) -> str:
    """Return the table of features."""
    rows = []
    for feature in spec.features:
        found, shift = evaluation.features[feature.name], evaluation.features[feature.name].shift
        rows.append(
            (
                feature.name,
                feature.description or feature.name,
                _SIGN_TEXTS[feature.sign],
                f"{found.information.iv:.3f}",
                _leak_text(found),
                percent(found.missing_share),
                percent(evaluation.gain.get(feature.name)),
                f"{shift.psi:.4f}" if shift else "",
                f"{shift.critical:.4f}" if shift else "",
                shift.verdict.lower().replace("_", " ") if shift else "",
                f"{shift.bins}" if shift else "",
            )
        )
    head = ("feature", "meaning", "sign", "IV", "leak", "missing", "gain", "CSI", "chance, 95 %", "verdict", "bins")
    rows_now = max((one.shift.current_rows for one in evaluation.features.values() if one.shift), default=0)
    reading = (
        "IV: predictive power of the feature alone, suspicious above 0.5. CSI: drift of its values from development to the "
        f"hold-out ({rows_now:,} customers; no verdict below 100), next to its critical value."
    )
    return table("Features.", reading, head, rows)


def _leak_text(found: FeatureStatistics) -> str:
    """Return a text on whether target leakage is suspected; the explanations of the spec are listed below the table."""
    if not found.leak_suspected:
        return ""
    return "alarm" if found.leak_alarm else "alarm, explained"


def monotonicity_table(evaluation: ModelEvaluation) -> str:
    """Return the table of the monotonicity sweeps."""
    rows = [
        (
            one.feature,
            _SIGN_TEXTS[one.sign],
            f"{one.rows:,}",
            f"{one.value_count:,}",
            "all" if one.complete else "some",
            f"{one.violations:,}",
            "" if one.missing_position is None else f"{one.missing_position:.2f}",
        )
        for one in evaluation.sweeps
    ]
    head = ("feature", "sign", "rows", "values", "threshold intervals covered", "violations", "missing ranks at")
    reading = (
        "Each feature is varied over its range in real rows, with all other features unchanged. The margin must never move "
        "against the sign. Missing values: 0 is as safe as the safest value, 1 is as risky as the riskiest value."
    )
    return table("Monotonicity.", reading, head, rows)


def swap_table(found: SwapComparison) -> str:
    """Return the table of the swap sets against the scorecard."""
    rows = []
    for name, title in CELL_TITLES.items():
        pair = [getattr(one, name) for one in (found.at_cut_off, found.at_rate)]
        rows.append((title, *(text for cell in pair for text in (f"{cell.rows:,}", percent(cell.bad_rate)))))
    rows += [
        (f"approved by {who}", *_approval_cells(found.at_cut_off, which), *_approval_cells(found.at_rate, which))
        for who, which in (("this model", "challenger"), (found.rival, "champion"))
    ]
    head = ("customers", "at the cut-off", "bad rate", "at equal approval rate", "bad rate ")
    reading = (
        f"This model replaces {found.rival}: with the pd cut-off {100 * found.approve_max_pd:g} % for both models, and with the "
        "same number of approvals by both. Customers approved only by this model should have a lower bad rate than customers "
        "approved only by the scorecard."
    )
    return table("Swap set.", reading, head, rows)


def _approval_cells(found: SwapSet, which: str) -> tuple[str, str]:
    """Return the share of customers that a model approves, and their bad rate, as cells."""
    return percent(getattr(found, f"{which}_approved")), percent(getattr(found, f"{which}_bad_rate"))


def fairness_table(attribute: str, found: FairnessResult) -> str:
    """Return the table of the groups of one protected attribute."""
    head = ("group", "rows", "approved", "gap of good approved", "gap of bad approved", "ratio of approvals")
    reading = (
        f"Gaps are against {found.reference}, in percentage points with 95 % intervals; chance may explain a gap whose interval contains 0. "
        "Investigate ratios below 0.8 (the four-fifths rule)."
    )
    return table(f"{attribute}, not used by the model.", reading, head, [_group_row(group) for group in found.groups])


def _group_row(group: GroupFairness) -> tuple[str, ...]:
    """Return the row of one group."""
    name = f"{group.name} (too few rows)" if group.small else group.name
    return (
        name,
        f"{group.rows:,}",
        _estimate_text(group.selection_rate),
        _estimate_text(group.tpr_gap, signed=True),
        _estimate_text(group.fpr_gap, signed=True),
        "" if (one := group.disparate_impact) is None else f"{one.value:.2f} ({interval_text(one.low, one.high, 2)})",
    )


def _estimate_text(one: Estimate | None, *, signed: bool = False) -> str:
    """Return a share with its interval as text; an empty string for None."""
    if one is None:
        return ""
    return f"{100 * one.value:{'+' if signed else ''}.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def equivalence_table(evaluation: ModelEvaluation) -> str:
    """Return the table of the equivalence check."""
    rows = [
        (kind.kind, f"{kind.rows:,}", "0", f"{kind.contribution_distance:.1e}", f"{kind.residual:.1e}")
        for kind in evaluation.equivalence.kinds
    ]
    head = ("kind of row", "rows", "margins that differ", "contributions: largest difference", "sums: largest residual")
    reading = "The exported files are compared with LightGBM and with the definition of the explanation. A difference prevents the release."
    return table("Equivalence of the exported files.", reading, head, rows)
