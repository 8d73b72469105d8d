"""The model card: what a bundle is for, in words that need no training in statistics."""

from collections.abc import Iterator, Sequence

from training.evaluation.model_evaluation import ModelEvaluation
from training.release.gates import GateResult, format_figure
from training.report.terminal import leak_alarms
from training.sources.samples import Samples
from training.spec import Spec


def model_card(spec: Spec, samples: Samples, findings: ModelEvaluation, lines: Sequence[GateResult]) -> str:
    """Write card.md."""
    parts = [
        [f"# {spec.title}"],
        [f"**For:** {spec.purpose}"],
        [f"**Learnt from:** {spec.population}."],
        ["**Not for:**", "", *(f"- {line}" for line in spec.not_for or ("nothing was stated",))],
        [f"**How good:** {ranking_sentence(findings)}"],
        _rivals(findings),
        [f"**Are the probabilities right:** {calibration_sentence(findings)}"],
        ["**Limits:**", "", *(f"- {line}" for line in limitations(spec, findings))],
        _gates(lines),
        ["**Rows:**", "", *(f"- {what}: {count:,}" for what, count in samples.waterfall)],
        ["**Versions:**", "", *(f"- {line}" for line in versions(spec, samples))],
        ["Tables and plots: `report.html` in the same folder. Every figure by name: `metrics.json`."],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def ranking_sentence(findings: ModelEvaluation) -> str:
    """Say how well it ranks."""
    test, interval = findings.test_quality, findings.ranking.auc
    between = f", 95 % interval {interval.low:.4f} to {interval.high:.4f}" if interval else ""
    return (
        f"of two customers, one good and one bad, it ranks them rightly in {test.auc:.1%} of all pairs "
        f"(AUC {test.auc:.4f}{between}; Gini {test.gini:.4f}, KS {test.ks:.4f}), on {test.rows:,} rows that it had not "
        f"seen, {test.bads:,} of them bad."
    )


def calibration_sentence(findings: ModelEvaluation) -> str:
    """Say how far probabilities and outcomes differ."""
    test, noise = findings.test_quality, findings.calibration.ece_noise
    return (
        f"on the same rows the mean probability is {test.mean_pd:.2%} and the bad rate {test.bad_rate:.2%}. Over ten "
        f"groups of equal size the two differ by {test.ece:.2%} on average; chance alone makes it up to "
        f"{noise.quantile_95:.2%} in 95 of 100 cases."
    )


def _rivals(findings: ModelEvaluation) -> list[str]:
    """Put the model beside simpler rules."""
    test = findings.test_quality
    return [
        "| rule on the same rows | AUC | Brier |",
        "|---|---|---|",
        f"| **this model** | {test.auc:.4f} | {test.brier:.4f} |",
        *(f"| {n} | {rival.quality.auc:.4f} | {rival.quality.brier:.4f} |" for n, rival in findings.rivals.items()),
    ]


def limitations(spec: Spec, findings: ModelEvaluation) -> Iterator[str]:
    """Say what the figures cannot say."""
    if spec.table is not None:
        yield (
            "every figure is of customers whose outcome is known, as a rule those who were accepted; those who were "
            "turned away are not among them, so it says nothing about them"
        )
    if "OUT_OF_TIME" in findings.parts:
        late = findings.parts["OUT_OF_TIME"]
        yield f"on {late.rows:,} later rows the AUC is {late.auc:.4f} and the mean probability {late.mean_pd:.2%}"
    elif findings.periods:
        yield "the hold-out is later than all that it learnt from, but mostly of the same customers"
    else:
        yield "the hold-out is of the same time as the development rows: nothing shows how the model ages"
    if not spec.fairness.attributes:
        yield "differences between groups of people were not looked at: the spec lists no attributes"
    yield from leak_alarms(findings)
    yield from findings.remarks


def _gates(lines: Sequence[GateResult]) -> list[str]:
    """Show the gates that the model passed."""
    shown = [(line.figure, "-" if line.value is None else format_figure(line.value), line.bound) for line in lines]
    return [
        "**Gates:** a model that fails one is not released.",
        "",
        "| figure | value | must be |",
        "|---|---|---|",
        *(f"| {figure} | {value} | {bound} |" for figure, value, bound in shown),
    ]


def versions(spec: Spec, samples: Samples) -> Iterator[str]:
    """Say what the figures belong to."""
    yield f"master scale {spec.score.master_scale_version}: " + ", ".join(
        f"{grade.grade} up to {grade.max_pd:.0%}" for grade in spec.score.grades
    )
    yield f"{spec.score.base_score} points are odds of {spec.score.base_odds:g}:1, {spec.score.pdo:g} points double them"
    yield f"data SHA-256 {samples.data_sha256}"
    yield "bundle: the SHA-256 of manifest.json, which is the folder's name; it lists the libraries' versions"
