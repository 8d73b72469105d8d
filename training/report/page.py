"""The page report.html, a single file that works offline.

The first screen is a summary for all readers. All later sections are for validators.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from models.bundle_documents import Scorecard
from models.scorecard import unrounded_score
from training.evaluation.model_evaluation import ModelEvaluation
from training.evaluation.release_gates import GateResult
from training.report import comparison_plots, contribution_plots, quality_plots, tables
from training.report.campaign import campaign_sections
from training.report.card import calibration_sentence, limitations, ranking_sentence, versions
from training.report.headline import headline
from training.report.markup import box, bullets, escape, figure, paragraph, percent, section, whole_page
from training.report.svg import plot_style, render_svg
from training.report.terminal import leak_alarms
from training.report.warnings import first_warnings
from training.scoring.drivers import DriverTexts
from training.sources.samples import Samples
from training.spec import Spec


def report_page(
    spec: Spec,
    samples: Samples,
    evaluation: ModelEvaluation,
    card: Scorecard,
    lines: Sequence[GateResult],
    drivers: DriverTexts,
) -> str:
    """Return the page as HTML; equal arguments lead to equal bytes."""
    with plot_style():
        parts = [
            _first_screen(spec, evaluation, lines),
            section("Release gates", tables.gate_table(lines), tables.equivalence_table(evaluation)),
            section(
                "Data", tables.waterfall_table(samples), tables.column_table(samples), tables.part_table(evaluation)
            ),
            section("Ranking", *_ranking_section(evaluation)),
            *campaign_sections(spec, evaluation, drivers),
            section("Calibration", *_calibration_section(spec, evaluation, card)),
            section("What drives the model", *_contribution_section(spec, evaluation)),
            section("Stability", *_drift_section(evaluation)),
            *_comparison_sections(evaluation),
            section("Limitations", bullets(limitations(spec, evaluation))),
        ]
    footer = f"<footer>{bullets(versions(spec, samples))}</footer>"
    return whole_page(spec.title, "".join(parts) + footer)


def _hold_out_rows(evaluation: ModelEvaluation) -> str:
    """Return what is known about the rows of the hold-out."""
    if evaluation.fitted_elsewhere:
        return "the rows of the hold-out (the model was fitted elsewhere, possibly on these rows)"
    return "rows that the model was not fitted on"


def _first_screen(spec: Spec, evaluation: ModelEvaluation, lines: Sequence[GateResult]) -> str:
    """Return the summary: the quality of the model, its purpose, its forbidden uses, and the release gates."""
    pairs = round(100 * evaluation.test_quality.auc)
    passed = sum(line.passed for line in lines)
    good = [
        f'<p class="big">{pairs} of 100</p>',
        paragraph(
            f"The model ranks {pairs} of 100 pairs of a good and a bad customer correctly. A random ranking would rank 50 correctly."
        ),
        paragraph(
            f"On {_hold_out_rows(evaluation)}, the mean probability is {percent(evaluation.test_quality.mean_pd)}, "
            f"and {percent(evaluation.test_quality.bad_rate)} of the customers turned out bad."
        ),
        *(paragraph(line) for line in _decision_sentences(evaluation, spec)),
    ]
    gates = [
        f'<p class="big">{passed} of {len(lines)} passed</p>',
        paragraph(
            "The bounds were fixed in advance and are listed below. A model that fails a release gate is not released."
        ),
    ]
    if passed < len(lines):
        gates.append(paragraph("This model failed a release gate and was not released: there is no bundle of it."))
    boxes = [
        box("How good", good),
        box("For whom", [paragraph(spec.purpose), paragraph(f"Data: {spec.population}.")]),
        box("Not for", [bullets(spec.not_for or ("not stated",))], "warn"),
        *([box("Warnings", [bullets(found)], "warn")] if (found := first_warnings(evaluation)) else []),
        box("Release gates", gates, "good" if passed == len(lines) else "warn"),
    ]
    return (
        f"<header><h1>{escape(spec.title)}</h1>"
        f"{paragraph(headline(evaluation.test_quality, evaluation.rivals, spec.accept_behind), 'lead')}"
        f'<div class="first">{"".join(boxes)}</div></header>'
    )


def _decision_sentences(evaluation: ModelEvaluation, spec: Spec) -> Iterator[str]:
    """Yield sentences about the customers on both sides of the reference cut-offs."""
    policy = spec.reference_policy
    if policy is None:
        return
    pds, labels = evaluation.hold_out.pds, evaluation.hold_out.labels
    bands = (
        (f"a probability up to {policy.approve_max_pd:.0%}", pds <= policy.approve_max_pd),
        (f"a probability above {policy.refer_max_pd:.0%}", pds > policy.refer_max_pd),
    )
    for description, inside in bands:
        if inside.any():
            yield (
                f"{np.mean(inside):.0%} of the customers had {description}; "
                f"{100 * np.mean(labels[inside]):.0f} of 100 of these customers were bad."
            )


def _ranking_section(evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield the parts of the section on ranking."""
    yield paragraph(f"In short: {ranking_sentence(evaluation)}")
    roc = render_svg(quality_plots.roc_plot(evaluation), "roc", "ROC curves of the model and of simpler rules")
    cap = render_svg(quality_plots.cap_plot(evaluation), "cap", "CAP curves of the model and of simpler rules")
    yield '<div class="plots">'
    yield figure(
        "ROC.",
        "The closer a curve is to the upper left corner, the better the ranking. The diagonal is a random ranking.",
        roc,
    )
    yield figure("CAP.", "Share of the bad customers found, by share of customers, the riskiest first.", cap)
    yield "</div>"
    yield tables.rival_table(evaluation)
    yield tables.search_table(evaluation)
    yield tables.ranking_table(evaluation)


def _calibration_section(spec: Spec, evaluation: ModelEvaluation, card: Scorecard) -> Iterator[str]:
    """Yield the parts of the section on calibration and grades."""
    yield paragraph(f"In short: {calibration_sentence(evaluation)}")
    calibration = render_svg(
        quality_plots.calibration_plot(evaluation), "calibration", "Bad rate against mean probability in ten bins"
    )
    scores = render_svg(
        quality_plots.score_plot(evaluation, _cut_offs(spec, card)), "scores", "Distribution of the score by outcome"
    )
    grades = render_svg(quality_plots.grade_plot(evaluation), "grades", "Bad rate and mean probability by grade")
    shares = render_svg(quality_plots.share_plot(evaluation), "shares", "Share of customers by grade")
    yield '<div class="plots">'
    yield figure(
        "Calibration.",
        "Points on the line are calibrated. If an interval does not reach the line, chance does not explain the difference.",
        calibration,
    )
    yield figure("Score by outcome.", "The less the two outlines overlap, the better the score separates.", scores)
    yield figure(
        "Bad rate by grade.",
        "Points should rise from left to right, and each diamond, the mean probability, should lie within the interval of the observed rate.",
        grades,
    )
    yield figure("Customers by grade.", "No grade should be nearly empty or contain nearly all customers.", shares)
    yield "</div>"
    yield tables.grade_table(evaluation)
    yield _concentration_paragraph(evaluation)
    yield tables.calibration_table(evaluation)


def _concentration_paragraph(evaluation: ModelEvaluation) -> str:
    """Return a paragraph about the concentration of customers in grades."""
    now, then = evaluation.calibration.concentration, evaluation.calibration.development_concentration
    if now is None or then is None:
        return ""
    return paragraph(
        f"Concentration (Herfindahl-Hirschman index) over {now.grades} grades: {now.hhi:.3f}, at development "
        f"{then.hhi:.3f}; {1 / now.grades:.3f} is an even distribution. Normalised: {now.normalised:.3f}."
    )


def _cut_offs(spec: Spec, card: Scorecard) -> tuple[tuple[str, float], ...]:
    """Return the names and points of the reference cut-offs."""
    if spec.reference_policy is None:
        return ()
    pds = (
        ("approve from here", spec.reference_policy.approve_max_pd),
        ("decline below", spec.reference_policy.refer_max_pd),
    )
    return tuple((name, unrounded_score(card, float(np.log(pd / (1.0 - pd))))) for name, pd in pds)


def _contribution_section(spec: Spec, evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield the parts of the section on contributions."""
    names, count = tuple(feature.name for feature in spec.features), len(evaluation.contributions.rows)
    yield paragraph(
        f"Contributions are those of explain.onnx, for {count:,} customers of the hold-out; each value represents its "
        "interval between two thresholds of the model, so this file contains no person's data."
    )
    importance = render_svg(
        contribution_plots.importance_plot(evaluation, names),
        "importance",
        "Mean absolute contribution and gain by feature",
    )
    beeswarm = render_svg(
        contribution_plots.beeswarm_plot(evaluation, names),
        "beeswarm",
        "Contribution of every feature in every explained row",
    )
    yield '<div class="plots">'
    yield figure(
        "Importance.",
        "Left: how much a feature changes the log-odds on average. Right: the feature's share of the total gain in the fit.",
        importance,
    )
    yield figure(
        "All contributions.",
        "Each point is a customer. To the right of the line the feature raises the risk. Yellow points have a high value.",
        beeswarm,
    )
    for column in evaluation.contributions.features_by_importance()[: contribution_plots.DEPENDENCE_PLOTS]:
        feature = spec.features[column]
        description = f"Contribution of {feature.name} by its value"
        plot = render_svg(
            contribution_plots.dependence_plot(evaluation, column, feature), f"dependence-{column}", description
        )
        meaning = feature.description or feature.name
        yield figure(
            f"{feature.name}.",
            f"{meaning}: contribution by threshold interval; the spread within an interval comes from the other features.",
            plot,
        )
    yield "</div>"
    yield tables.feature_table(spec, evaluation)
    if alarms := leak_alarms(evaluation):
        yield bullets(alarms)
    yield tables.monotonicity_table(evaluation)


def _drift_section(evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield the parts of the section on drift from development to the hold-out."""
    shift = evaluation.score_shift
    if shift:
        yield paragraph(
            f"The score on the hold-out against development: PSI {shift.psi:.4f} over {shift.bins} bins, "
            f"{shift.reference_rows:,} development and {shift.current_rows:,} hold-out customers. Without a shift it stays "
            f"below {shift.critical:.4f} in 95 of 100 cases. A verdict requires 100 customers. Verdict: {shift.verdict.lower()}."
        )
    if shift or any(feature.shift for feature in evaluation.features.values()):
        plot = render_svg(comparison_plots.shift_plot(evaluation), "shifts", "Population stability index by feature")
        reading = "A dot to the right of its mark is drift that chance does not explain. If it is also to the right of the first dotted line, watch; of the second, act."
        yield figure("Stability.", reading, plot)


def _comparison_sections(evaluation: ModelEvaluation) -> Iterator[str]:
    """Yield the sections on the swap set, rejected applicants and fairness; a section without results is left out."""
    if evaluation.swap:
        plot = render_svg(
            comparison_plots.swap_plot(evaluation.swap), "swaps", "Bad rate of the four cells of the swap set"
        )
        reading = "Both models approve the same number of customers. The second point should lie below the third point."
        yield section("Swap set", figure("Swap set.", reading, plot), tables.swap_table(evaluation.swap))
    if evaluation.rejects:
        assumption = paragraph(
            f"A sensitivity run, which is not evidence: nobody observed the outcomes of the {evaluation.rejects.rows:,} rejected "
            f"applicants, to whom this model gives a mean probability of {percent(evaluation.rejects.mean_pd)}. If the lines below "
            "differ little, the model depends little on what the rejected applicants would have done. This model was fitted "
            "without them."
        )
        yield section("Rejected applicants", assumption, tables.reject_table(evaluation.rejects))
    if evaluation.fairness:
        plot = render_svg(
            comparison_plots.approval_plot(evaluation), "approvals", "Share of good customers approved, by group"
        )
        reading = "Share of the good customers approved in each group. Chance does not explain a difference if intervals do not overlap."
        found = [tables.fairness_table(attribute, one) for attribute, one in evaluation.fairness.items()]
        yield section("Fairness", figure("Good customers approved.", reading, plot), *found)
