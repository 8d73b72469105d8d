"""The release gates of the spec. A gate is a set of bounds for one figure; a model that fails a bound is not released.

The gates check the quality of the model. training/equivalence proves that the exported files equal the model.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from training.errors import ModelRejected
from training.spec import GateSpec
from training.validation.rivals import RivalResult, best_rival


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one bound of one gate.

    Attributes:
        figure: Name of the figure in metrics.json.
        value: Value of the figure; None if the figure was not measured, which fails the bound.
        bound: The bound as text, e.g. "at least 0.775".
        passed: Whether the value satisfies the bound.
    """

    figure: str
    value: float | None
    bound: str
    passed: bool

    def __str__(self) -> str:
        shown = "was not measured" if self.value is None else f"is {format_figure(self.value)}"
        return f"{self.figure} {shown}; it must be {self.bound}"


def evaluate_gates(
    gates: Sequence[GateSpec], figures: Mapping[str, float], rivals: Sequence[str] = ()
) -> tuple[GateResult, ...]:
    """Return the result of every bound, in the order of the spec.

    Args:
        gates: The gates of the spec.
        figures: Every measured figure by name.
        rivals: Names of all rivals. A gate that compares with the figures of rivals fails if a figure was not measured
            for one of these rivals.
    """
    return tuple(line for gate in gates for line in _evaluate_gate(gate, figures, rivals))


def evaluate_best_rival(rivals: Mapping[str, RivalResult], accepted: str | None) -> tuple[GateResult, ...]:
    """Return the result of the release gate that every model has: it is not behind the best rival by more than chance.

    Args:
        rivals: The results of the rivals by name.
        accepted: The rival that the model may be behind (`accept_behind` of the spec); None if there is no such rival.

    Returns:
        One result; none if no rival, or no interval of the difference, could be measured.
    """
    best = best_rival(rivals)
    lead = None if best is None else rivals[best].auc_lead
    if lead is None:
        return ()
    if best == accepted:
        bound = "any number, because accept_behind accepts this rival"
    else:
        bound = f"at least 0, or the spec sets accept_behind = {best!r}"
    return (GateResult(f"rival.{best}.ahead_auc.high", lead.high, bound, best == accepted or lead.high >= 0.0),)


def require_passed(lines: Sequence[GateResult]) -> None:
    """Check that every gate passed.

    Raises:
        ModelRejected: A gate failed; the message lists every failed bound with its figure.
    """
    if failed := [line for line in lines if not line.passed]:
        listed = "\n".join(f"  {line}" for line in failed)
        raise ModelRejected(
            f"{len(failed)} of {len(lines)} gates failed; the model is not released:\n{listed}\n"
            "add rows or features that improve these figures; change a bound in the spec only if the owner of the model approves it"
        )


def _evaluate_gate(gate: GateSpec, figures: Mapping[str, float], rivals: Sequence[str]) -> list[GateResult]:
    """Return the result of each bound of a gate."""
    value = figures.get(gate.figure)
    bounds: list[tuple[str, bool]] = []
    if gate.min is not None:
        bounds.append((f"at least {format_figure(gate.min)}", value is not None and value >= gate.min))
    if gate.max is not None:
        bounds.append((f"at most {format_figure(gate.max)}", value is not None and value <= gate.max))
    if gate.not_below is not None:
        bounds += _rival_bounds(gate, gate.not_below, value, figures)
        bounds += [
            (f"not below {name}, which was not measured", False)
            for name in _unmeasured_rivals(gate.not_below, figures, rivals)
        ]
    return [GateResult(gate.figure, value, bound, passed) for bound, passed in bounds]


def _rival_bounds(
    gate: GateSpec, pattern: str, value: float | None, figures: Mapping[str, float]
) -> list[tuple[str, bool]]:
    """Return a bound for each other figure that matches the pattern; if none matches, return a single failed bound."""
    others = {name: other for name, other in figures.items() if fnmatchcase(name, pattern) and name != gate.figure}
    if not others:
        return [(f"not below {pattern}, but no such figure was measured", False)]
    margin = f"{format_figure(gate.ahead_by)} above" if gate.ahead_by else "not below"
    return [
        (f"{margin} {name}, {format_figure(other)}", value is not None and value >= other + gate.ahead_by)
        for name, other in others.items()
    ]


def _unmeasured_rivals(pattern: str, figures: Mapping[str, float], rivals: Sequence[str]) -> list[str]:
    """Return the figures of rivals that match a pattern but were not measured.

    Such a figure fails the gate, because it is unknown whether the model is better than the rival.
    """
    tail = pattern.rpartition(".")[2]
    required = [f"rival.{rival}.{tail}" for rival in rivals]
    return [
        name
        for name in required
        if fnmatchcase(name, pattern)
        and not any(fnmatchcase(other, _escape_rival_name(name, tail)) for other in figures)
    ]


def _escape_rival_name(name: str, tail: str) -> str:
    """Return a pattern in which only the tail has wildcards, because the name of a rival may contain [, ? or *."""
    return glob.escape(name.removesuffix(tail)) + tail


def format_figure(value: float) -> str:
    """Return a figure as text: an integer without decimal places, any other number with four."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"
