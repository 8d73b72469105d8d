"""The waterfall of an explanation: from the baseline, contribution by contribution, to the score.

`point_steps` computes the lines of a score, which the terminal shows too; the other functions draw the lines as a table with
bars. Every line also has its figures, so that a reader can add them up by hand, even on a print without colours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2
from grounds.explain.v1.explain_pb2 import Contribution, Explanation
from grounds.model.v1 import model_pb2
from grounds_client.evidence.markup import Markup, tag
from grounds_client.formatting import value_text

BASE_LABEL = "typical customer of the baseline"
_WIDTH, _HEIGHT = 240, 14
_BAR_COLUMN = 4
_CREDIT_HEAD = ("how the score adds up", "value", "points", "so far", "", "log-odds of default")
_CHURN_HEAD = ("how the log-odds add up", "value", "log-odds", "so far", "")


@dataclass(frozen=True, slots=True)
class WaterfallStep:
    """One line of a waterfall.

    Attributes:
        label: The feature, with its description if the bundle is available.
        value: The feature's value as text.
        contribution: What the feature adds, in the unit of the waterfall: points, or log-odds of leaving.
        log_odds: What the feature adds, in log-odds.
        before: The sum before this line.
        after: The sum after this line.
        is_risk: True if the feature raises the risk.
    """

    label: str
    value: str
    contribution: float
    log_odds: float
    before: float
    after: float
    is_risk: bool


def point_steps(explanation: Explanation, described: Mapping[str, model_pb2.Feature]) -> list[WaterfallStep]:
    """Return the lines of a credit score in points, the highest risk first; the last `after` is the score.

    Args:
        explanation: The explanation of a credit assessment.
        described: The bundle's features by name; may be empty.
    """
    total, steps = explanation.base_points, []
    for line in sorted(explanation.contributions, key=lambda line: (line.points, line.feature)):
        label, value = _label_and_value(line, described)
        after = total + line.points
        steps.append(WaterfallStep(label, value, line.points, line.log_odds, total, after, line.points < 0))
        total = after
    return steps


def _log_odds_steps(explanation: Explanation, described: Mapping[str, model_pb2.Feature]) -> list[WaterfallStep]:
    """Return the lines of a churn prediction in log-odds, the highest risk first; the last `after` is the sum."""
    total, steps = explanation.base_value, []
    for line in sorted(explanation.contributions, key=lambda line: (-line.log_odds, line.feature)):
        label, value = _label_and_value(line, described)
        after = total + line.log_odds
        steps.append(WaterfallStep(label, value, line.log_odds, line.log_odds, total, after, line.log_odds > 0))
        total = after
    return steps


def credit_waterfall(assessment: credit_pb2.CreditAssessment, described: Mapping[str, model_pb2.Feature]) -> Markup:
    """Return the waterfall of a credit score in points, as a table."""
    explanation, output = assessment.explanation, assessment.model_output
    steps = point_steps(explanation, described)
    scale = _Scale([explanation.base_points, *(step.after for step in steps)])
    points = str(explanation.base_points)
    base = _row(_CREDIT_HEAD, BASE_LABEL, ("", points, points, "", _log_odds_text(explanation.base_value)))
    lines = [
        _row(
            _CREDIT_HEAD,
            step.label,
            (
                step.value,
                f"{step.contribution:+.0f}",
                str(step.after),
                scale.bar(step),
                _log_odds_text(step.log_odds),
            ),
        )
        for step in steps
    ]
    score = str(output.score)
    total = _row(_CREDIT_HEAD, "score", ("", score, score, "", _log_odds_text(output.log_odds)), kind="total")
    return _table(_CREDIT_HEAD, (base, *lines, total))


def churn_waterfall(explanation: Explanation, log_odds: float, described: Mapping[str, model_pb2.Feature]) -> Markup:
    """Return the waterfall of a churn prediction in log-odds of leaving, as a table."""
    steps = _log_odds_steps(explanation, described)
    scale = _Scale([explanation.base_value, *(step.after for step in steps)])
    base_value, sum_text = _log_odds_text(explanation.base_value), _log_odds_text(log_odds)
    base = _row(_CHURN_HEAD, BASE_LABEL, ("", base_value, base_value, ""))
    lines = [
        _row(
            _CHURN_HEAD,
            step.label,
            (step.value, _log_odds_text(step.contribution), _log_odds_text(step.after), scale.bar(step)),
        )
        for step in steps
    ]
    total = _row(_CHURN_HEAD, "log-odds of leaving", ("", sum_text, sum_text, ""), kind="total")
    return _table(_CHURN_HEAD, (base, *lines, total))


def _label_and_value(line: Contribution, described: Mapping[str, model_pb2.Feature]) -> tuple[str, str]:
    """Return a contribution's feature and its value as text."""
    feature = described.get(line.feature)
    label = f"{line.feature}: {feature.description}" if feature else line.feature
    return label, value_text(line.value, feature.unit if feature else "")


def _log_odds_text(log_odds: float) -> str:
    """Return log-odds as text."""
    return f"{log_odds:+.6f}"


def _table(head: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """Return a table with a head and rows."""
    top = tag("tr", *(tag("th", title, scope="col", class_=_class(column)) for column, title in enumerate(head)))
    return tag("table", tag("thead", top), tag("tbody", *rows))


def _row(head: Sequence[str], label: str, cells: Sequence[str], kind: str | None = None) -> Markup:
    """Return one row: the label, then the cells in the order of the table's head."""
    written = [
        tag("td", cell, class_=_class(column), data_label=(head[column] if cell else None) or None)
        for column, cell in enumerate(cells, start=1)
    ]
    return tag("tr", tag("th", label, scope="row"), *written, class_=kind)


def _class(column: int) -> str | None:
    """Return the CSS class of a column: None for the labels and the bars, "figure" for every other column."""
    return None if column in {0, _BAR_COLUMN} else "figure"


class _Scale:
    """Maps sums to positions in the drawing."""

    def __init__(self, sums: Sequence[float]) -> None:
        self._low = min(sums)
        self._unit = _WIDTH / ((max(sums) - self._low) or 1)  # 1 avoids a division by zero if all sums are equal

    def bar(self, step: WaterfallStep) -> Markup:
        """Return a bar from the sum before the step to the sum after it."""
        start, end = sorted(((step.before - self._low) * self._unit, (step.after - self._low) * self._unit))
        shape = tag(
            "rect",
            x=f"{start:.1f}",
            y=2,
            width=f"{max(end - start, 1):.1f}",
            height=_HEIGHT - 4,
            class_="risk" if step.is_risk else "safe" if step.contribution else "base",
        )
        spoken = f"from {step.before:.10g} to {step.after:.10g}"
        return tag(
            "svg", shape, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none", role="img", aria_label=spoken
        )
