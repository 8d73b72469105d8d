"""The model card, card.md, which explains a model's purpose and quality to readers without statistics."""

from collections.abc import Iterator, Sequence

from training.evaluation.model_evaluation import ModelEvaluation
from training.evaluation.release_gates import GateResult, format_figure
from training.report.headline import headline
from training.report.terminal import leak_alarms, search_sentences
from training.sources.samples import Samples
from training.spec import Spec


def model_card(spec: Spec, samples: Samples, evaluation: ModelEvaluation, lines: Sequence[GateResult]) -> str:
    """Return the text of card.md."""
    parts = [
        [f"# {spec.title}"],
        [headline(evaluation.test_quality, evaluation.rivals, spec.accept_behind)],
        [f"**For:** {spec.purpose}"],
        [f"**Data:** {spec.population}."],
        ["**Not for:**", "", *(f"- {line}" for line in spec.not_for or ("not stated",))],
        [f"**Ranking:** {ranking_sentence(evaluation)}"],
        _rivals(evaluation),
        *([f"**Choice of the model:** {sentence}."] for sentence in search_sentences(evaluation)),
        [f"**Calibration:** {calibration_sentence(evaluation)}"],
        ["**Limits:**", "", *(f"- {line}" for line in limitations(spec, evaluation))],
        _gates(lines),
        ["**Rows:**", "", *(f"- {what}: {count:,}" for what, count in samples.waterfall)],
        ["**Versions:**", "", *(f"- {line}" for line in versions(spec, samples))],
        ["Tables and plots are in `report.html` in the same folder, all figures by name in `metrics.json`."],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def ranking_sentence(evaluation: ModelEvaluation) -> str:
    """Return a sentence on how well the model ranks."""
    test, interval = evaluation.test_quality, evaluation.ranking.auc
    between = f", 95 % interval {interval.low:.4f} to {interval.high:.4f}" if interval else ""
    return (
        f"of two customers, one good and one bad, the bad one has the higher probability in {test.auc:.1%} of all pairs "
        f"(AUC {test.auc:.4f}{between}; Gini {test.gini:.4f}, KS {test.ks:.4f}), measured on {test.rows:,} rows "
        f"{_fitted_on(evaluation)}, {test.bads:,} of them bad."
    )


def _fitted_on(evaluation: ModelEvaluation) -> str:
    """Return a phrase that states whether the model may have been fitted on the hold-out."""
    if evaluation.fitted_elsewhere:
        return "(the model was fitted elsewhere, so this command cannot know whether it was fitted on them)"
    return "that the model was not fitted on"


def calibration_sentence(evaluation: ModelEvaluation) -> str:
    """Return a sentence on how well the probabilities agree with the outcomes."""
    test, noise = evaluation.test_quality, evaluation.calibration.ece_noise
    return (
        f"on the same rows the mean probability is {test.mean_pd:.2%} and the bad rate {test.bad_rate:.2%}. Over ten "
        f"groups of equal size the two differ by {test.ece:.2%} on average; chance alone causes up to "
        f"{noise.quantile_95:.2%} in 95 of 100 cases."
    )


def _rivals(evaluation: ModelEvaluation) -> list[str]:
    """Return the lines of the table that compares the model with the rivals."""
    test = evaluation.test_quality
    return [
        "| model, on the same rows | AUC | Brier |",
        "|---|---|---|",
        f"| **this model** | {test.auc:.4f} | {test.brier:.4f} |",
        *(f"| {n} | {rival.quality.auc:.4f} | {rival.quality.brier:.4f} |" for n, rival in evaluation.rivals.items()),
    ]


def limitations(spec: Spec, evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield sentences on what the figures do not show."""
    if spec.table is not None:
        yield (
            "all figures are about customers with a known outcome, usually those who were accepted; applicants who were "
            "refused are not among them, so the figures do not describe refused applicants"
        )
    if evaluation.rejects is not None:
        shares = ", ".join(f"{one.bad_share:.0%}" for one in evaluation.rejects.scenarios if one.bad_share is not None)
        yield (
            f"report.html states how the model would differ with {evaluation.rejects.rows:,} rejected applicants if {shares} of "
            "them had been bad; these shares are assumptions, and the model uses none of these rows"
        )
    if "OUT_OF_TIME" in evaluation.parts:
        late = evaluation.parts["OUT_OF_TIME"]
        yield f"on {late.rows:,} later rows the AUC is {late.auc:.4f} and the mean probability {late.mean_pd:.2%}"
    elif evaluation.periods:
        yield "the hold-out is later than the rows that the model was fitted on, but has mostly the same customers"
    else:
        yield "the hold-out is from the same time as the development rows, so it does not show how the model ages"
    if not spec.fairness.attributes:
        yield "differences between groups of people were not measured, because the spec lists no attributes"
    yield from leak_alarms(evaluation)
    yield from evaluation.remarks


def _gates(lines: Sequence[GateResult]) -> list[str]:
    """Return the lines of the table of release gates."""
    shown = [(line.figure, "-" if line.value is None else format_figure(line.value), line.bound) for line in lines]
    return [
        "**Release gates:** a model that fails one is not released."
        + ("" if all(line.passed for line in lines) else " This model failed a gate and was not released."),
        "",
        "| figure | value | must be |",
        "|---|---|---|",
        *(f"| {figure} | {value} | {bound} |" for figure, value, bound in shown),
    ]


def versions(spec: Spec, samples: Samples) -> Iterator[str]:
    """Yield the versions of the master scale, the data and the bundle."""
    yield f"master scale {spec.score.master_scale_version}: " + ", ".join(
        f"{grade.grade} up to {grade.max_pd:.0%}" for grade in spec.score.grades
    )
    yield f"{spec.score.base_score} points are odds of {spec.score.base_odds:g}:1, {spec.score.pdo:g} points double them"
    yield f"data SHA-256 {samples.data_sha256}"
    yield "bundle id: the SHA-256 of manifest.json, and the name of the folder; the manifest lists the versions of the libraries"
