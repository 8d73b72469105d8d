"""The gates of the spec: a model that fails one line is not released, and every failed line is said.

training/equivalence is another thing: it proves that the exported files are the model. Here the model itself is judged.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from training.errors import ModelRejected
from training.spec import GateSpec


@dataclass(frozen=True, slots=True)
class GateResult:
    """One bound of one gate.

    Attributes:
        value: The figure; None where it was not measured, which fails.
        bound: In words, e.g. "at least 0.775".
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
    """Hold the figures against every bound, in the order of the spec; `rivals` are those that must have a figure."""
    return tuple(line for gate in gates for line in _evaluate_gate(gate, figures, rivals))


def require_passed(lines: Sequence[GateResult]) -> None:
    """Refuse a model that fails.

    Raises:
        ModelRejected: Names every failed line with its figure and its bound.
    """
    if failed := [line for line in lines if not line.passed]:
        listed = "\n".join(f"  {line}" for line in failed)
        raise ModelRejected(f"{len(failed)} of {len(lines)} gates failed; nothing is released:\n{listed}")


def _evaluate_gate(gate: GateSpec, figures: Mapping[str, float], rivals: Sequence[str]) -> list[GateResult]:
    """Hold one gate's figure against each of its bounds."""
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
    """Hold a figure against others; where none of that name was measured, the line fails."""
    others = {name: other for name, other in figures.items() if fnmatchcase(name, pattern) and name != gate.figure}
    if not others:
        return [(f"not below {pattern}, of which nothing was measured", False)]
    margin = f"{format_figure(gate.ahead_by)} above" if gate.ahead_by else "not below"
    return [
        (f"{margin} {name}, {format_figure(other)}", value is not None and value >= other + gate.ahead_by)
        for name, other in others.items()
    ]


def _unmeasured_rivals(pattern: str, figures: Mapping[str, float], rivals: Sequence[str]) -> list[str]:
    """Name the figures of rivals that a pattern asks for and that are not there: who was not measured is not beaten."""
    tail = pattern.rpartition(".")[2]
    asked = [f"rival.{rival}.{tail}" for rival in rivals]
    return [
        name
        for name in asked
        if fnmatchcase(name, pattern)
        and not any(fnmatchcase(other, _escape_rival_name(name, tail)) for other in figures)
    ]


def _escape_rival_name(name: str, tail: str) -> str:
    """Give the pattern of a name in which the tail alone may hold wildcards: a rival may be called "[a]"."""
    return glob.escape(name.removesuffix(tail)) + tail


def format_figure(value: float) -> str:
    """Write a figure: whole numbers whole, others with four digits after the point."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"
