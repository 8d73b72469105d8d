"""Reads the outcome of every row: which value of the label column is bad, and which is good."""

import re
from collections.abc import Collection

from training.errors import DataInvalid, quote_name
from training.spec import LabelSpec, toml_text

_VALUES_SHOWN = 5
# Pairs of values (good, bad) whose meaning is unambiguous.
_PAIRS = (("0", "1"), ("false", "true"), ("good", "bad"))


def canonical_label(value: object, *, is_text: bool = False) -> str:
    """Return a value of a label column, or of the spec, in the form in which values are compared.

    Args:
        value: The value.
        is_text: Whether the labels are texts, so that 1 and 1.0 are different labels.
    """
    text = str(value).strip()
    if text.casefold() in {"true", "false"}:
        return text.casefold()
    return text if is_text else re.sub(r"^([+-]?\d+)\.0*$", r"\1", text).removeprefix("+")


def are_texts(spec: LabelSpec, values: Collection[object]) -> bool:
    """Return whether the labels are texts: the spec states a bad value in quotes, and the column has it as it is stated."""
    return isinstance(spec.bad, str) and spec.bad.strip() in values


def bad_and_good(spec: LabelSpec, values: Collection[str], *, is_text: bool = False) -> tuple[str, str]:
    """Return the values that stand for a bad and for a good outcome.

    Args:
        spec: The label of the spec.
        values: The different values of the column, in the form of `canonical_label`.
        is_text: Whether the labels are texts.

    Raises:
        DataInvalid: The column has other values than the spec states, or neither the spec nor the values show which value is
            bad.
    """
    shown = ", ".join(sorted(values)[:_VALUES_SHOWN]) + (", ..." if len(values) > _VALUES_SHOWN else "")
    if spec.bad is None:
        return _recognized_pair(spec, values, shown)
    bad = canonical_label(spec.bad, is_text=is_text)
    stated_good = None if spec.good is None else canonical_label(spec.good, is_text=is_text)
    others = set(values) - {bad}
    if bad in values and len(others) == 1 and (stated_good is None or stated_good in others):
        return bad, others.pop()
    expected = f"{stated_good!r}" if stated_good is not None else "one other value"
    raise DataInvalid(
        f"column {quote_name(spec.column)}: the label must have the values {bad!r} (bad) and {expected} (good), got {shown}; correct "
        "table.label, exclude the rows with other values with [[table.exclude]], or list values that mean no outcome in missing of [table]"
    )


def _recognized_pair(spec: LabelSpec, values: Collection[str], shown: str) -> tuple[str, str]:
    """Return (bad, good) if the values are a pair whose meaning is unambiguous; otherwise raise DataInvalid."""
    folded = {value.casefold(): value for value in values}
    for good, bad in _PAIRS:
        if len(values) == len(folded) and {good, bad} == set(folded):
            return folded[bad], folded[good]
    hint = "exclude the rows with other values with [[table.exclude]], or list values that mean no outcome in missing of [table]"
    if len(values) == 2:  # noqa: PLR2004 - a pair
        hint = (
            f"write label = {{ column = {toml_text(spec.column)}, bad = {toml_text(max(values))} }} in [table] with the value "
            "that is bad"
        )
    elif len(values) < 2:  # noqa: PLR2004 - a pair
        hint = "add rows with the other outcome, or set table.label to the column of the outcome"
    elif all(re.fullmatch(r"[+-]?\d+(\.\d+)?", value) for value in values):
        expression = f'"{spec.column}" >= {max(values, key=float)}'
        hint += f", or compute the outcome, such as label = {{ column = '{expression}', bad = true }}"
    raise DataInvalid(
        f"column {quote_name(spec.column)}: each label must be 0 (good) or 1 (bad), and both values must occur, got {shown}; {hint}"
    )
