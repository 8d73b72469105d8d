"""The points of a decision as a table with bars: from the baseline's score, feature by feature, to the customer's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.markup import Markup, tag
from client.values import value_text
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Explanation
from grounds.model.v1 import model_pb2

WIDTH, HEIGHT = 240, 14


@dataclass(frozen=True, slots=True)
class Step:
    """One line.

    Attributes:
        before: The score before it.
        after: The score after it.
    """

    label: str
    value: str
    points: int
    log_odds: float
    before: int
    after: int


def steps_of(explanation: Explanation, described: Mapping[str, model_pb2.Feature]) -> list[Step]:
    """Give a line for every feature, the strongest push toward risk first; the last `after` is the score."""
    so_far, steps = explanation.base_points, []
    for line in sorted(explanation.contributions, key=lambda line: (line.points, line.feature)):
        feature = described.get(line.feature)
        label = f"{line.feature}: {feature.description.split(';')[0]}" if feature else line.feature
        value = value_text(line.value, feature.unit if feature else "")
        steps.append(Step(label, value, line.points, line.log_odds, so_far, so_far + line.points))
        so_far += line.points
    return steps


def waterfall(assessment: credit_pb2.CreditAssessment, described: Mapping[str, model_pb2.Feature]) -> Markup:
    """Draw it. Every line stands in figures too, so that it can be added up by hand, also from a print without colours."""
    explanation, score = assessment.explanation, assessment.model_output
    steps = steps_of(explanation, described)
    scale = Scale([explanation.base_points, *(step.after for step in steps)])
    points = str(explanation.base_points)
    base = row("typical customer of the baseline", ("", points, points, "", explanation.base_value))
    lines = [
        row(step.label, (step.value, f"{step.points:+d}", str(step.after), scale.bar(step), step.log_odds))
        for step in steps
    ]
    total = row("score", ("", str(score.score), str(score.score), "", score.log_odds), kind="total")
    head = ("how the score adds up", "value", "points", "so far", "", "log-odds of default")
    top = tag("tr", *(tag("th", name, scope="col", class_=look(place)) for place, name in enumerate(head)))
    return tag("table", tag("thead", top), tag("tbody", base, *lines, total))


def row(label: str, cells: tuple[str, str, str, str, float], kind: str | None = None) -> Markup:
    """Give one line of the table: value, points, so far, bar, log-odds."""
    *others, log_odds = cells
    shown = [tag("td", cell, class_=look(place)) for place, cell in enumerate((*others, f"{log_odds:+.6f}"), start=1)]
    return tag("tr", tag("th", label, scope="row"), *shown, class_=kind)


def look(place: int) -> str | None:
    """Give the class of a column: all but the first and the bars are figures."""
    return None if place in {0, 4} else "figure"


class Scale:
    """Where scores stand on the drawing."""

    def __init__(self, scores: Sequence[int]) -> None:
        self.low = min(scores)
        self.unit = WIDTH / max(1, max(scores) - self.low)

    def bar(self, step: Step) -> Markup:
        """Draw one step from the score before it to the one after it."""
        start, end = sorted(((step.before - self.low) * self.unit, (step.after - self.low) * self.unit))
        shape = tag(
            "rect",
            x=f"{start:.1f}",
            y=2,
            width=f"{max(end - start, 1):.1f}",
            height=HEIGHT - 4,
            class_="risk" if step.points < 0 else "safe" if step.points else "base",
        )
        says = f"from {step.before} to {step.after}"
        return tag(
            "svg", shape, viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", role="img", aria_label=says
        )
