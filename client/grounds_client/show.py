"""Answers as a person at the desk reads them: the decision first, reasons in words, then the points that add up."""

from collections.abc import Sequence

from google.type.money_pb2 import Money
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Reasons
from grounds.model.v1 import model_pb2
from grounds_client.values import number_text, value_text
from grounds_client.waterfall import steps_of

BAR_WIDTH = 16
COLOURS = {
    "APPROVE": "green",
    "APPROVE_REDUCED": "green",
    "REFER": "yellow",
    "DECLINE": "red",
    "NOT_SCORABLE": "magenta",
}
WAYS = {
    "FOUND": "each scored again; no promise, the policy and a later model may decide otherwise",
    "NO_RECOURSE_FOUND": "none found among what a customer can act on",
    "NOT_NEEDED": "it is there already",
    "NOT_SCORABLE": "too little is known to score",
}


def show_decision(console: Console, decision: credit_pb2.CreditDecision, model: model_pb2.Model | None) -> None:
    """Show a decision."""
    name = short(credit_pb2.Decision.Name(decision.decision), "DECISION_")
    who = f"customer {decision.customer.market} {decision.customer.customer_id}"
    console.print(
        Text.assemble((f" {name} ", f"reverse bold {COLOURS[name]}"), f"  {who}, {money(decision.requested_amount)}")
    )
    show_assessment(console, decision.assessment, model)
    ref = decision.record_ref
    console.print(f"decision {ref.decision_id}, {ref.decide_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC", style="dim")


def show_simulation(console: Console, answer: credit_pb2.SimulateCreditResponse, model: model_pb2.Model | None) -> None:
    """Show a what-if: both outcomes, then how the simulated one adds up."""
    for title, assessment in (("as known", answer.known), ("what if", answer.simulated)):
        name = short(credit_pb2.Decision.Name(assessment.policy_result.decision), "DECISION_")
        figures = score_line(assessment)
        console.print(Text.assemble(f"{title:<9}", (f" {name} ", f"reverse {COLOURS[name]}"), f"  {figures}"))
    console.print("what if (decides nothing, is kept nowhere):", style="dim")
    show_assessment(console, answer.simulated, model)
    if answer.HasField("recourse"):
        show_recourse(console, answer.recourse)


def show_recourse(console: Console, recourse: credit_pb2.Recourse) -> None:
    """Show what would bring the customer to the approve cut-off."""
    status = short(credit_pb2.RecourseStatus.Name(recourse.status), "RECOURSE_STATUS_")
    console.print(f"Ways to the approve cut-off: {WAYS[status]}", highlight=False)
    for number, way in enumerate(recourse.counterfactuals, start=1):
        changes = "; ".join(
            f"{change.feature} from {value_text(change.current)} to {value_text(change.proposed)}"
            for change in way.changes
        )
        console.print(f"  {number}. {changes}: {way.score} points, {way.pd:.2%}", markup=False, highlight=False)


def score_line(assessment: credit_pb2.CreditAssessment) -> str:
    """Give score, pd and grade in a line."""
    output = assessment.model_output
    if not assessment.HasField("model_output"):
        return "no score"
    return f"{output.score} points, probability of default {output.pd:.2%}, grade {output.grade}"


def show_assessment(console: Console, assessment: credit_pb2.CreditAssessment, model: model_pb2.Model | None) -> None:
    """Show figures, reasons, and the points that add up."""
    if assessment.HasField("model_output"):
        recommendation = assessment.recommendation
        console.print(
            f"{score_line(assessment)} (approve up to {recommendation.approve_max_pd:.0%}, "
            f"refer up to {recommendation.refer_max_pd:.0%})"
        )
        policy = assessment.policy_result
        console.print(
            f"approvable without a person: {money(policy.approvable_amount)}; "
            f"expected loss of the requested amount: {money(policy.expected_loss)}"
        )
    show_reasons(console, assessment.reasons, "What speaks against")
    if assessment.HasField("explanation"):
        console.print(waterfall(assessment, model))


def show_reasons(console: Console, reasons: Reasons, title: str) -> None:
    """Show reasons, most important first."""
    if not reasons.reasons:
        return
    console.print(f"{title}:", markup=False)
    for number, reason in enumerate(reasons.reasons, start=1):
        points = f" ({reason.points:+d} points)" if reason.HasField("points") else ""
        console.print(f"  {number}. {reason.text}{points}", markup=False, highlight=False)


def waterfall(assessment: credit_pb2.CreditAssessment, model: model_pb2.Model | None) -> Table:
    """Show the column of points: from the baseline's score, feature by feature, to the customer's."""
    explanation = assessment.explanation
    described = {} if model is None else {feature.name: feature for feature in model.features}
    steps = steps_of(explanation, described)
    moved = [step for step in steps if step.push]
    still = len(steps) - len(moved)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("how the score adds up")
    table.add_column("value", justify="right")
    table.add_column("points", justify="right")
    table.add_column("so far", justify="right")
    table.add_column("")
    base, score = str(explanation.base_points), str(assessment.model_output.score)
    add_row(table, "typical customer of the baseline", "", base, base, "")
    widest = max((abs(step.push) for step in moved), default=1)
    for step in moved:
        add_row(table, step.label, step.value, f"{step.push:+.0f}", str(step.after), bar(step.push, widest))
    total = str(moved[-1].after) if moved else base
    if still:
        add_row(table, f"{still} more feature{'s' if still > 1 else ''}", "", "+0", total, "")
    table.add_section()
    add_row(table, "score", "", score, total, "", style="bold")
    return table


def bar(points: float, widest: float) -> Text:
    """Draw one push: red takes points away, green gives them."""
    length = max(1, round(abs(points) / widest * BAR_WIDTH))
    return Text(("-" if points < 0 else "+") * length, style="red" if points < 0 else "green")


def show_models(console: Console, models: Sequence[model_pb2.ModelSummary]) -> None:
    """Show the catalog."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("family", "bundle", "state", "serves", "may serve", "why refused"):
        table.add_column(title)
    for model in models:
        state = short(model_pb2.ModelState.Name(model.state), "MODEL_STATE_")
        serving, markets = ", ".join(model.serving_markets), ", ".join(model.markets)
        add_row(table, model.family, model.bundle_id[:12], state, serving, markets, model.refusal)
    console.print(table)


def show_model(console: Console, model: model_pb2.Model) -> None:
    """Show one bundle: its card and what may be sent to it."""
    console.print(model.card, markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("feature", "unit", "from", "to", "given by", "sign", "what"):
        table.add_column(title)
    for feature in model.features:
        low = number_text(feature.min) if feature.HasField("min") else ""
        high = number_text(feature.max) if feature.HasField("max") else ""
        source = short(model_pb2.FeatureSource.Name(feature.source), "FEATURE_SOURCE_")
        sign = {1: "+", -1: "-", 0: ""}[feature.monotone_sign]
        name = feature.name + (" *" if feature.mandatory else "")
        add_row(table, name, feature.unit, low, high, source, sign, feature.description)
    console.print(table)
    console.print("* without it a customer is not scorable", style="dim")


def add_row(table: Table, *cells: str | Text, style: str | None = None) -> None:
    """Add a line whose texts are shown as they are: what looks like markup is none."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), style=style)


def money(amount: Money) -> str:
    """Write an amount."""
    return f"{amount.units + amount.nanos / 10**9:,.2f} {amount.currency_code}"


def short(name: str, prefix: str) -> str:
    """Give an enum value without its prefix."""
    return name.removeprefix(prefix)
