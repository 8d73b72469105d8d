"""report.html: one file that opens offline. The first screen is for everybody, the rest for whoever must be convinced."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from models.bundle_documents import Scorecard
from models.scorecard import unrounded_score
from training.evaluation.model_evaluation import ModelEvaluation
from training.release.gates import GateResult
from training.report import comparison_plots, contribution_plots, quality_plots, tables
from training.report.campaign import campaign_sections
from training.report.card import calibration_sentence, limitations, ranking_sentence, versions
from training.report.markup import bullets, figure, paragraph, percent, section
from training.report.svg import plot_style, render_svg
from training.report.terminal import leak_alarms
from training.scoring.drivers import DriverTexts
from training.sources.samples import Samples
from training.spec import Spec

_CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def report_page(
    spec: Spec,
    samples: Samples,
    findings: ModelEvaluation,
    card: Scorecard,
    lines: Sequence[GateResult],
    drivers: DriverTexts,
) -> str:
    """Write the whole page: the same findings give the same bytes."""
    with plot_style():
        parts = [
            _first_screen(spec, findings, lines),
            section("What it must pass", tables.gate_table(lines), tables.equivalence_table(findings)),
            section("What it learnt from", tables.waterfall_table(samples), tables.part_table(findings)),
            section("How well it ranks", *_ranking_section(findings)),
            *campaign_sections(spec, findings, drivers),
            section("Are the probabilities right", *_calibration_section(spec, findings, card)),
            section("What drives it", *_contribution_section(spec, findings)),
            section("Has anything moved", *_drift_section(findings)),
            *_comparison_sections(findings),
            section("Limits", bullets(limitations(spec, findings))),
        ]
    footer = f"<footer>{bullets(versions(spec, samples))}</footer>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(spec.title)}</title><style>{_CSS}</style></head>\n"
        f"<body><main>{''.join(parts)}{footer}</main></body></html>\n"
    )


def _first_screen(spec: Spec, findings: ModelEvaluation, lines: Sequence[GateResult]) -> str:
    """Say in plain words how good, for whom, what not to use it for, and what it passed."""
    pairs = round(100 * findings.test_quality.auc)
    passed = sum(line.passed for line in lines)
    good = [
        f'<p class="big">{pairs} of 100</p>',
        paragraph(f"Of two customers, one good and one bad, it ranks {pairs} of 100 pairs rightly; a coin 50."),
        paragraph(
            f"On rows that it had never seen it told {percent(findings.test_quality.mean_pd)} on average; "
            f"{percent(findings.test_quality.bad_rate)} turned out bad."
        ),
        *(paragraph(line) for line in _decision_sentences(findings, spec)),
    ]
    gates = [
        f'<p class="big">{passed} of {len(lines)} passed</p>',
        paragraph("Bounds that were fixed before, listed below; a model that fails one is not released."),
    ]
    boxes = [
        _box("How good", good),
        _box("For whom", [paragraph(spec.purpose), paragraph(f"Learnt from: {spec.population}.")]),
        _box("Not for", [bullets(spec.not_for or ("nothing was stated",))], "warn"),
        _box("Gates", gates),
    ]
    return (
        f"<header><h1>{escape(spec.title)}</h1>"
        f"{paragraph('Model report: what a validator asks for first.', 'lead')}"
        f'<div class="first">{"".join(boxes)}</div></header>'
    )


def _box(title: str, parts: Sequence[str], kind: str = "good") -> str:
    """Give one box of the first screen."""
    return f'<div class="{kind}"><h3>{escape(title)}</h3>{"".join(parts)}</div>'


def _decision_sentences(findings: ModelEvaluation, spec: Spec) -> Iterator[str]:
    """Say how the customers fare on both sides of the reference cut-offs."""
    policy = spec.reference_policy
    if policy is None:
        return
    pds, labels = findings.hold_out.pds, findings.hold_out.labels
    bands = (
        (f"a probability up to {policy.approve_max_pd:.0%}", pds <= policy.approve_max_pd),
        (f"one above {policy.refer_max_pd:.0%}", pds > policy.refer_max_pd),
    )
    for says, inside in bands:
        if inside.any():
            yield (
                f"{np.mean(inside):.0%} of the customers had {says}; "
                f"of 100 of these, {100 * np.mean(labels[inside]):.0f} were bad."
            )


def _ranking_section(findings: ModelEvaluation) -> Iterator[str]:
    """Show how well it ranks."""
    yield paragraph(f"In short: {ranking_sentence(findings)}")
    roc = render_svg(quality_plots.roc_plot(findings), "roc", "ROC curves of the model and of simpler rules")
    cap = render_svg(quality_plots.cap_plot(findings), "cap", "CAP curves of the model and of simpler rules")
    yield '<div class="plots">'
    yield figure(
        "ROC.", "The further a curve bends to the upper left, the better it ranks; the diagonal is chance.", roc
    )
    yield figure("CAP.", "How many of the bad customers are among the riskiest so many percent of all.", cap)
    yield "</div>"
    yield tables.rival_table(findings)
    yield tables.ranking_table(findings)


def _calibration_section(spec: Spec, findings: ModelEvaluation, card: Scorecard) -> Iterator[str]:
    """Show whether the probabilities are right, and the grades."""
    yield paragraph(f"In short: {calibration_sentence(findings)}")
    calibration = render_svg(
        quality_plots.calibration_plot(findings), "calibration", "Bad rate against mean probability in ten bins"
    )
    scores = render_svg(
        quality_plots.score_plot(findings, _cut_offs(spec, card)), "scores", "Distribution of the score by outcome"
    )
    grades = render_svg(quality_plots.grade_plot(findings), "grades", "Bad rate and mean probability by grade")
    shares = render_svg(quality_plots.share_plot(findings), "shares", "Share of customers by grade")
    yield '<div class="plots">'
    yield figure(
        "Calibration.", "Points on the line are right; a whisker that misses it is more than chance.", calibration
    )
    yield figure("Score by outcome.", "The less the two outlines overlap, the better the score separates.", scores)
    yield figure(
        "Bad rate by grade.", "Points must rise from left to right, and the diamonds lie within the whiskers.", grades
    )
    yield figure("Customers by grade.", "No grade should be nearly empty, and none hold nearly everybody.", shares)
    yield "</div>"
    yield tables.grade_table(findings)
    yield _concentration_paragraph(findings)
    yield tables.calibration_table(findings)


def _concentration_paragraph(findings: ModelEvaluation) -> str:
    """Say how the customers crowd."""
    now, then = findings.calibration.concentration, findings.calibration.development_concentration
    if now is None or then is None:
        return ""
    return paragraph(
        f"Concentration (Herfindahl-Hirschman index) over {now.grades} grades: {now.hhi:.3f}, at development "
        f"{then.hhi:.3f}; {1 / now.grades:.3f} would be perfectly even. Normalised: {now.normalised:.3f}."
    )


def _cut_offs(spec: Spec, card: Scorecard) -> tuple[tuple[str, float], ...]:
    """Give the reference cut-offs in points."""
    if spec.reference_policy is None:
        return ()
    pds = (
        ("approve from here", spec.reference_policy.approve_max_pd),
        ("decline below", spec.reference_policy.refer_max_pd),
    )
    return tuple((name, unrounded_score(card, float(np.log(pd / (1.0 - pd))))) for name, pd in pds)


def _contribution_section(spec: Spec, findings: ModelEvaluation) -> Iterator[str]:
    """Show what drives the model."""
    names, count = tuple(feature.name for feature in spec.features), len(findings.contributions.rows)
    yield paragraph(
        f"Explanations are those of explain.onnx, for {count:,} customers of the hold-out; each value stands for its "
        "interval between two thresholds of the model, so that no person is in this file."
    )
    importance = render_svg(
        contribution_plots.importance_plot(findings, names), "importance", "Mean push and gain by feature"
    )
    beeswarm = render_svg(
        contribution_plots.beeswarm_plot(findings, names), "beeswarm", "Push of every feature in every explained row"
    )
    yield '<div class="plots">'
    yield figure(
        "What matters.", "Left: how far a feature moves a score on average; right: its part in the fit.", importance
    )
    yield figure(
        "Every push.",
        "A point is a customer; right of the line the feature raises the risk, yellow is a high value.",
        beeswarm,
    )
    for place in findings.contributions.features_by_importance()[: contribution_plots.DEPENDENCE_PLOTS]:
        feature = spec.features[place]
        says = f"Push of {feature.name} against its value"
        plot = render_svg(contribution_plots.dependence_plot(findings, place, feature), f"dependence-{place}", says)
        meaning = feature.description or feature.name
        yield figure(
            f"{feature.name}.",
            f"{meaning}: the push of each interval that the model tells apart; the spread within one comes from the other features.",
            plot,
        )
    yield "</div>"
    yield tables.feature_table(spec, findings)
    if alarms := leak_alarms(findings):
        yield bullets(alarms)
    yield tables.monotonicity_table(findings)


def _drift_section(findings: ModelEvaluation) -> Iterator[str]:
    """Show how far the hold-out is from development."""
    shift = findings.score_shift
    if shift:
        yield paragraph(
            f"The score on the hold-out against development: PSI {shift.psi:.4f} over {shift.bins} bins, "
            f"{shift.reference_rows:,} customers then and {shift.current_rows:,} now; chance stays below {shift.critical:.4f} in "
            f"95 of 100 cases. Below 100 customers there would be no verdict. Verdict: {shift.verdict.lower()}."
        )
    if shift or any(feature.shift for feature in findings.features.values()):
        plot = render_svg(comparison_plots.shift_plot(findings), "shifts", "Population stability index by feature")
        reading = "A dot right of its mark is more than chance; right of a dotted line it is large enough to watch, or to act."
        yield figure("Stability.", reading, plot)


def _comparison_sections(findings: ModelEvaluation) -> Iterator[str]:
    """Show the swap set and the groups, where the spec asks for them."""
    if findings.swap:
        plot = render_svg(
            comparison_plots.swap_plot(findings.swap), "swaps", "Bad rate of the four cells of the swap set"
        )
        reading = "Both approve equally many: the second point should lie below the third."
        yield section("Who would move", figure("Swap set.", reading, plot), tables.swap_table(findings.swap))
    if findings.fairness:
        plot = render_svg(
            comparison_plots.approval_plot(findings), "approvals", "Share of good customers approved, by group"
        )
        reading = (
            "Of the good customers in each group, how many it would approve; whiskers that part are more than chance."
        )
        found = [tables.fairness_table(attribute, one) for attribute, one in findings.fairness.items()]
        yield section("Are groups treated alike", figure("Good customers approved.", reading, plot), *found)
