"""report.html: one file that opens offline. The first screen is for everybody, the rest for whoever must be convinced."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from models.bundle_documents import Scorecard
from models.scorecard import unrounded_score
from training.evaluation.model_evaluation import Findings
from training.release.gates import Line
from training.report import comparisons, drivers, plots, tables
from training.report.campaign import campaign_sections
from training.report.card import how_good, how_right, limits, versions
from training.report.markup import bullets, figure, paragraph, percent, section
from training.report.printed import leak_alarms
from training.report.svg import drawn, style
from training.scoring.drivers import Drivers
from training.sources.samples import Samples
from training.spec import Spec

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def report_of(
    spec: Spec, samples: Samples, findings: Findings, card: Scorecard, lines: Sequence[Line], drivers: Drivers
) -> str:
    """Write the whole page: the same findings give the same bytes."""
    with style():
        parts = [
            first_screen(spec, findings, lines),
            section("What it must pass", tables.gates(lines), tables.proof(findings)),
            section("What it learnt from", tables.rows_used(samples), tables.parts(findings)),
            section("How well it ranks", *ranking(findings)),
            *campaign_sections(spec, findings, drivers),
            section("Are the probabilities right", *probabilities(spec, findings, card)),
            section("What drives it", *driving(spec, findings)),
            section("Has anything moved", *moving(findings)),
            *comparing(findings),
            section("Limits", bullets(limits(spec, findings))),
        ]
    footer = f"<footer>{bullets(versions(spec, samples))}</footer>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(spec.title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{''.join(parts)}{footer}</main></body></html>\n"
    )


def first_screen(spec: Spec, findings: Findings, lines: Sequence[Line]) -> str:
    """Say in plain words how good, for whom, what not to use it for, and what it passed."""
    pairs = round(100 * findings.test.auc)
    passed = sum(line.passed for line in lines)
    good = [
        f'<p class="big">{pairs} of 100</p>',
        paragraph(f"Of two customers, one good and one bad, it ranks {pairs} of 100 pairs rightly; a coin 50."),
        paragraph(
            f"On rows that it had never seen it told {percent(findings.test.mean_pd)} on average; "
            f"{percent(findings.test.bad_rate)} turned out bad."
        ),
        *(paragraph(line) for line in decisions(findings, spec)),
    ]
    gates = [
        f'<p class="big">{passed} of {len(lines)} passed</p>',
        paragraph("Bounds that were fixed before, listed below; a model that fails one is not released."),
    ]
    boxes = [
        box("How good", good),
        box("For whom", [paragraph(spec.purpose), paragraph(f"Learnt from: {spec.population}.")]),
        box("Not for", [bullets(spec.not_for or ("nothing was stated",))], "warn"),
        box("Gates", gates),
    ]
    return (
        f"<header><h1>{escape(spec.title)}</h1>"
        f"{paragraph('Model report: what a validator asks for first.', 'lead')}"
        f'<div class="first">{"".join(boxes)}</div></header>'
    )


def box(title: str, parts: Sequence[str], kind: str = "good") -> str:
    """Give one box of the first screen."""
    return f'<div class="{kind}"><h3>{escape(title)}</h3>{"".join(parts)}</div>'


def decisions(findings: Findings, spec: Spec) -> Iterator[str]:
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


def ranking(findings: Findings) -> Iterator[str]:
    """Show how well it ranks."""
    yield paragraph(f"In short: {how_good(findings)}")
    roc = drawn(plots.roc(findings), "roc", "ROC curves of the model and of simpler rules")
    cap = drawn(plots.cap(findings), "cap", "CAP curves of the model and of simpler rules")
    yield '<div class="plots">'
    yield figure(
        "ROC.", "The further a curve bends to the upper left, the better it ranks; the diagonal is chance.", roc
    )
    yield figure("CAP.", "How many of the bad customers are among the riskiest so many percent of all.", cap)
    yield "</div>"
    yield tables.rivals(findings)
    yield tables.ranking(findings)


def probabilities(spec: Spec, findings: Findings, card: Scorecard) -> Iterator[str]:
    """Show whether the probabilities are right, and the grades."""
    yield paragraph(f"In short: {how_right(findings)}")
    calibration = drawn(plots.calibration(findings), "calibration", "Bad rate against mean probability in ten bins")
    scores = drawn(plots.scores(findings, cut_offs_of(spec, card)), "scores", "Distribution of the score by outcome")
    grades = drawn(plots.grades(findings), "grades", "Bad rate and mean probability by grade")
    shares = drawn(plots.shares(findings), "shares", "Share of customers by grade")
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
    yield tables.grades(findings)
    yield concentration(findings)
    yield tables.calibration(findings)


def concentration(findings: Findings) -> str:
    """Say how the customers crowd."""
    now, then = findings.calibration.concentration, findings.calibration.development_concentration
    if now is None or then is None:
        return ""
    return paragraph(
        f"Concentration (Herfindahl-Hirschman index) over {now.grades} grades: {now.hhi:.3f}, at development "
        f"{then.hhi:.3f}; {1 / now.grades:.3f} would be perfectly even. Normalised: {now.normalised:.3f}."
    )


def cut_offs_of(spec: Spec, card: Scorecard) -> tuple[tuple[str, float], ...]:
    """Give the reference cut-offs in points."""
    if spec.reference_policy is None:
        return ()
    pds = (
        ("approve from here", spec.reference_policy.approve_max_pd),
        ("decline below", spec.reference_policy.refer_max_pd),
    )
    return tuple((name, unrounded_score(card, float(np.log(pd / (1.0 - pd))))) for name, pd in pds)


def driving(spec: Spec, findings: Findings) -> Iterator[str]:
    """Show what drives the model."""
    names, count = tuple(feature.name for feature in spec.features), len(findings.contributions.rows)
    yield paragraph(
        f"Explanations are those of explain.onnx, for {count:,} customers of the hold-out; each value stands for its "
        "interval between two thresholds of the model, so that no person is in this file."
    )
    importance = drawn(drivers.importance(findings, names), "importance", "Mean push and gain by feature")
    beeswarm = drawn(drivers.beeswarm(findings, names), "beeswarm", "Push of every feature in every explained row")
    yield '<div class="plots">'
    yield figure(
        "What matters.", "Left: how far a feature moves a score on average; right: its part in the fit.", importance
    )
    yield figure(
        "Every push.",
        "A point is a customer; right of the line the feature raises the risk, yellow is a high value.",
        beeswarm,
    )
    for place in findings.contributions.features_by_importance()[: drivers.DEPENDENCE]:
        feature = spec.features[place]
        says = f"Push of {feature.name} against its value"
        plot = drawn(drivers.dependence(findings, place, feature), f"dependence-{place}", says)
        meaning = feature.description or feature.name
        yield figure(
            f"{feature.name}.",
            f"{meaning}: the push of each interval that the model tells apart; the spread within one comes from the other features.",
            plot,
        )
    yield "</div>"
    yield tables.features(spec, findings)
    if alarms := leak_alarms(findings):
        yield bullets(alarms)
    yield tables.sweeps(findings)


def moving(findings: Findings) -> Iterator[str]:
    """Show how far the hold-out is from development."""
    shift = findings.score_shift
    if shift:
        yield paragraph(
            f"The score on the hold-out against development: PSI {shift.psi:.4f} over {shift.bins} bins, "
            f"{shift.rows_then:,} customers then and {shift.rows_now:,} now; chance stays below {shift.critical:.4f} in "
            f"95 of 100 cases. Below 100 customers there would be no verdict. Verdict: {shift.verdict.lower()}."
        )
    if shift or any(feature.shift for feature in findings.features.values()):
        plot = drawn(comparisons.shifts(findings), "shifts", "Population stability index by feature")
        reading = "A dot right of its mark is more than chance; right of a dotted line it is large enough to watch, or to act."
        yield figure("Stability.", reading, plot)


def comparing(findings: Findings) -> Iterator[str]:
    """Show the swap set and the groups, where the spec asks for them."""
    if findings.swap:
        plot = drawn(comparisons.swaps(findings.swap), "swaps", "Bad rate of the four cells of the swap set")
        reading = "Both approve equally many: the second point should lie below the third."
        yield section("Who would move", figure("Swap set.", reading, plot), tables.swap(findings.swap))
    if findings.fairness:
        plot = drawn(comparisons.approvals(findings), "approvals", "Share of good customers approved, by group")
        reading = (
            "Of the good customers in each group, how many it would approve; whiskers that part are more than chance."
        )
        found = [tables.fairness(attribute, one) for attribute, one in findings.fairness.items()]
        yield section("Are groups treated alike", figure("Good customers approved.", reading, plot), *found)
