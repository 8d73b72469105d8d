"""A score as a table with bars, in points or in log-odds: from the baseline's, feature by feature, to the customer's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Contribution, Explanation
from grounds.model.v1 import model_pb2
from grounds_client.markup import Markup, tag
from grounds_client.values import value_text

WIDTH, HEIGHT = 240, 14
BASE = "typical customer of the baseline"


@dataclass(frozen=True, slots=True)
class Step:
    """One line.

    Attributes:
        push: What it adds: points, or log-odds of leaving.
        before: The sum before it.
        after: The sum after it.
        is_risk: Whether it pushes toward risk.
    """

    label: str
    value: str
    push: float
    log_odds: float
    before: float
    after: float
    is_risk: bool


def steps_of(explanation: Explanation, described: Mapping[str, model_pb2.Feature]) -> list[Step]:
    """Give a line for every feature, the strongest push toward risk first; the last `after` is the score."""
    so_far, steps = explanation.base_points, []
    for line in sorted(explanation.contributions, key=lambda line: (line.points, line.feature)):
        label, value = told(line, described)
        after = so_far + line.points
        steps.append(Step(label, value, line.points, line.log_odds, so_far, after, line.points < 0))
        so_far = after
    return steps


def risk_steps_of(explanation: Explanation, described: Mapping[str, model_pb2.Feature]) -> list[Step]:
    """Give a line for every feature in log-odds, the strongest push toward leaving first; the last `after` is the sum."""
    so_far, steps = explanation.base_value, []
    for line in sorted(explanation.contributions, key=lambda line: (-line.log_odds, line.feature)):
        label, value = told(line, described)
        after = so_far + line.log_odds
        steps.append(Step(label, value, line.log_odds, line.log_odds, so_far, after, line.log_odds > 0))
        so_far = after
    return steps


def told(line: Contribution, described: Mapping[str, model_pb2.Feature]) -> tuple[str, str]:
    """Give a feature and its value in words."""
    feature = described.get(line.feature)
    label = f"{line.feature}: {feature.description.split(';')[0]}" if feature else line.feature
    return label, value_text(line.value, feature.unit if feature else "")


def waterfall(assessment: credit_pb2.CreditAssessment, described: Mapping[str, model_pb2.Feature]) -> Markup:
    """Draw it. Every line stands in figures too, so that it can be added up by hand, also from a print without colours."""
    explanation, score = assessment.explanation, assessment.model_output
    steps = steps_of(explanation, described)
    scale = Scale([explanation.base_points, *(step.after for step in steps)])
    points = str(explanation.base_points)
    base = row(BASE, ("", points, points, "", odds(explanation.base_value)))
    lines = [
        row(step.label, (step.value, f"{step.push:+.0f}", str(step.after), scale.bar(step), odds(step.log_odds)))
        for step in steps
    ]
    total = row("score", ("", str(score.score), str(score.score), "", odds(score.log_odds)), kind="total")
    head = ("how the score adds up", "value", "points", "so far", "", "log-odds of default")
    return drawn(head, (base, *lines, total))


def risk_waterfall(explanation: Explanation, log_odds: float, described: Mapping[str, model_pb2.Feature]) -> Markup:
    """Draw a churn risk likewise, in log-odds of leaving."""
    steps = risk_steps_of(explanation, described)
    scale = Scale([explanation.base_value, *(step.after for step in steps)])
    base = row(BASE, ("", odds(explanation.base_value), odds(explanation.base_value), ""))
    lines = [row(step.label, (step.value, odds(step.push), odds(step.after), scale.bar(step))) for step in steps]
    total = row("log-odds of leaving", ("", odds(log_odds), odds(log_odds), ""), kind="total")
    return drawn(("how the log-odds add up", "value", "log-odds", "so far", ""), (base, *lines, total))


def odds(log_odds: float) -> str:
    """Write log-odds."""
    return f"{log_odds:+.6f}"


def drawn(head: Sequence[str], lines: Iterable[Markup]) -> Markup:
    """Put lines under their head."""
    top = tag("tr", *(tag("th", name, scope="col", class_=look(place)) for place, name in enumerate(head)))
    return tag("table", tag("thead", top), tag("tbody", *lines))


def row(label: str, cells: Sequence[str], kind: str | None = None) -> Markup:
    """Give one line of the table: value, push, so far, bar, and what follows."""
    shown = [tag("td", cell, class_=look(place)) for place, cell in enumerate(cells, start=1)]
    return tag("tr", tag("th", label, scope="row"), *shown, class_=kind)


def look(place: int) -> str | None:
    """Give the class of a column: all but the first and the bars are figures."""
    return None if place in {0, 4} else "figure"


class Scale:
    """Where sums stand on the drawing."""

    def __init__(self, sums: Sequence[float]) -> None:
        self.low = min(sums)
        self.unit = WIDTH / ((max(sums) - self.low) or 1)

    def bar(self, step: Step) -> Markup:
        """Draw one step from the score before it to the one after it."""
        start, end = sorted(((step.before - self.low) * self.unit, (step.after - self.low) * self.unit))
        shape = tag(
            "rect",
            x=f"{start:.1f}",
            y=2,
            width=f"{max(end - start, 1):.1f}",
            height=HEIGHT - 4,
            class_="risk" if step.is_risk else "safe" if step.push else "base",
        )
        says = f"from {step.before:.10g} to {step.after:.10g}"
        return tag(
            "svg", shape, viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", role="img", aria_label=says
        )
