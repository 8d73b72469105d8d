"""Terminal output of credit decisions and what-ifs: the decision, the reasons, and the points that add up."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Reasons
from grounds.model.v1 import model_pb2
from grounds_client.evidence.waterfall import BASE_LABEL, point_steps
from grounds_client.formatting import (
    approvable_text,
    counterfactual_text,
    cut_offs_text,
    decision_name,
    latest_override_text,
    money_text,
    outcome_event_text,
    outcome_text,
    override_text,
    policy_lines,
    policy_title,
    recourse_text,
    score_text,
    time_text,
    warning_text,
)
from grounds_client.terminal.console import add_row, make_table, print_line, print_uncut

_BAR_WIDTH = 16
_COLOURS = {
    "APPROVE": "green",
    "APPROVE_REDUCED": "green",
    "REFER": "yellow",
    "DECLINE": "red",
    "NOT_SCORABLE": "magenta",
}
_UNKNOWN_COLOUR = "magenta"  # for a decision that this version of the client does not know


def show_decision(console: Console, decision: credit_pb2.CreditDecision, model: model_pb2.Model | None) -> None:
    """Print a decision. `model` describes the decision's features, and is None if the bundle is not available."""
    name = decision_name(decision.decision)
    customer = f"customer {decision.customer.market} {decision.customer.customer_id}"
    amount = money_text(decision.requested_amount)
    print_line(console, (f" {name} ", f"reverse bold {_COLOURS.get(name, _UNKNOWN_COLOUR)}"), f"  {customer}, {amount}")
    _show_assessment(console, decision.assessment, model)
    ref = decision.record_ref
    print_line(console, f"decision {ref.decision_id}, {time_text(ref.decide_time)} UTC", style="dim")


def show_history(console: Console, history: credit_pb2.GetCreditDecisionResponse) -> None:
    """Print the overrides and outcomes of a decision."""
    for line in (*map(override_text, history.overrides), *map(outcome_text, history.outcomes)):
        print_line(console, line)


def show_customer_decisions(console: Console, decisions: Sequence[credit_pb2.CustomerDecision]) -> None:
    """Print the decisions about one customer, and what was recorded for them since."""
    table = make_table()
    for title in (
        "decision id",
        "decided (UTC)",
        "requested",
        "decision",
        "grade",
        "override in force",
        "newest outcome",
    ):
        table.add_column(title, no_wrap=True)
    for each in decisions:
        add_row(
            table,
            each.decision_id,
            time_text(each.decide_time),
            "removed" if each.content_removed else money_text(each.requested_amount),
            decision_name(each.decision),
            each.grade,
            latest_override_text(each.override) if each.HasField("override") else "",
            outcome_event_text(each.outcome) if each.HasField("outcome") else "",
        )
    print_uncut(console, table)


def show_policy(console: Console, policy: credit_pb2.GetPolicyResponse) -> None:
    """Print each section of a policy: its limits, the facts that its rules need, and the reasons for overrides."""
    for section in policy.sections:
        print_line(console, policy_title(section))
        table = make_table()
        for title in ("what", "value"):
            table.add_column(title)
        for name, value in policy_lines(section):
            add_row(table, name, value)
        console.print(table)
    print_line(console, f"policy {policy.policy_version}, sha256 {policy.policy_sha256}", style="dim")


def show_simulation(console: Console, answer: credit_pb2.SimulateCreditResponse, model: model_pb2.Model | None) -> None:
    """Print a what-if: both results, then how the simulated score adds up."""
    for title, assessment in (("as known", answer.known), ("what if", answer.simulated)):
        name = decision_name(assessment.policy_result.decision)
        styled = (f" {name} ", f"reverse {_COLOURS.get(name, _UNKNOWN_COLOUR)}")
        print_line(console, f"{title:<9}", styled, f"  {score_text(assessment)}")
    print_line(console, "what if (decides nothing, records nothing):", style="dim")
    _show_assessment(console, answer.simulated, model)
    if answer.HasField("recourse"):
        _show_recourse(console, answer.recourse)


def _show_recourse(console: Console, recourse: credit_pb2.Recourse) -> None:
    """Print the changes that would bring the customer to the approve cut-off."""
    print_line(console, recourse_text(recourse))
    for number, counterfactual in enumerate(recourse.counterfactuals, start=1):
        print_line(console, f"  {number}. {counterfactual_text(counterfactual)}")


def show_reasons(console: Console, reasons: Reasons, title: str) -> None:
    """Print reasons under a title, the most important first."""
    if not reasons.reasons:
        return
    print_line(console, f"{title}:")
    for number, reason in enumerate(reasons.reasons, start=1):
        points = f" ({reason.points:+d} points)" if reason.HasField("points") else ""
        print_line(console, f"  {number}. {reason.text}{points}")


def _points_table(assessment: credit_pb2.CreditAssessment, model: model_pb2.Model | None) -> Table:
    """Return the waterfall of points; features that add no points share one line."""
    explanation = assessment.explanation
    described = {} if model is None else {feature.name: feature for feature in model.features}
    steps = point_steps(explanation, described)
    shown = [step for step in steps if step.contribution]
    table = make_table()
    table.add_column("how the score adds up")
    table.add_column("value", justify="right")
    table.add_column("points", justify="right")
    table.add_column("so far", justify="right")
    table.add_column("")
    base, score = str(explanation.base_points), str(assessment.model_output.score)
    add_row(table, BASE_LABEL, "", base, base, "")
    largest = max((abs(step.contribution) for step in shown), default=1)
    for step in shown:
        points, bar = f"{step.contribution:+.0f}", _bar(step.contribution, largest)
        label = step.label.partition(";")[0]  # the notes of a description are too long for a line of a terminal
        add_row(table, label, step.value, points, str(step.after), bar)
    if hidden := len(steps) - len(shown):
        total = str(shown[-1].after) if shown else base
        add_row(table, f"{hidden} more feature{'s' if hidden > 1 else ''}", "", "+0", total, "")
    table.add_section()
    add_row(table, "score", "", score, score, "", style="bold")
    return table


def _show_assessment(console: Console, assessment: credit_pb2.CreditAssessment, model: model_pb2.Model | None) -> None:
    """Print score, reasons, and the points that add up."""
    if assessment.HasField("model_output"):
        print_line(console, f"{score_text(assessment)} ({cut_offs_text(assessment.recommendation)})")
        print_line(console, approvable_text(assessment.policy_result))
    show_reasons(console, assessment.reasons, "What speaks against")
    for warning in assessment.warnings:
        print_line(console, f"Warning: {warning_text(warning)}", style="yellow")
    if assessment.HasField("explanation"):
        console.print(_points_table(assessment, model))


def _bar(points: float, largest: float) -> Text:
    """Return a bar: red if points are removed, green if points are added."""
    length = max(1, round(abs(points) / largest * _BAR_WIDTH))
    return Text(("-" if points < 0 else "+") * length, style="red" if points < 0 else "green")
