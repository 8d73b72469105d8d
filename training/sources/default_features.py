"""Selects the features of a table whose spec lists none, and states why each other column is left out."""

import re
import unicodedata
from collections.abc import Collection, Sequence

from training.sources.loaded_table import ColumnProfile
from training.sources.reader.column_summary import ColumnSummary
from training.spec import FeatureEntry

_LEVELS_MAX = 30
_ROWS_OF_LEVEL = 5  # a column of text is a feature if each level has at least this number of values on average
_NAME_CHARACTERS = 120
_UNUSABLE = {
    "empty": "has no value",
    "unsupported": "has a type that is neither number, text nor time",
    "time": "days or times are not features; compute a number of days from them",
}
_USED = "a key, the label or the weight is computed from it; list it in [[features]] to use it nevertheless"
_NOT_NUMBERS = {
    "mixed": "; correct them, or set missing in [table] if they mean a missing value",
    "unusual": (
        ", but look like numbers with a sign of a currency, a percent sign or another spelling; write digits, one decimal mark "
        "and a leading -, set decimal and thousands in [table], or list the column in [[features]] with kind = 'category'"
    ),
}
# Columns that training adds to its rows and to feature files. A feature with such a name would replace the column.
RESERVED_NAMES = {"market", "customer_id", "as_of", "label", "sample", "period", "status", "horizon_days"}
_LETTERS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "Ä": "Ae",
        "Ö": "Oe",
        "Ü": "Ue",
        "ø": "o",
        "Ø": "O",
        "æ": "ae",
        "Æ": "Ae",
        "ł": "l",
        "Ł": "L",
    }
)


def feature_names(columns: Sequence[str]) -> list[str]:
    """Return a unique, valid feature name for each column. A valid column name is kept as the feature name."""
    valid = {name for name in columns if _plain_name(name, 0) == name}
    names: list[str] = []
    for position, column in enumerate(columns, 1):
        plain = name = _plain_name(column, position)
        number = 2
        while name != column and (name in valid or name in names):
            name, number = f"{plain}_{number}", number + 1
        names.append(name)
    return names


def _plain_name(column: str, position: int) -> str:
    """Return the name of a column in ASCII letters, digits and underscores."""
    ascii_text = unicodedata.normalize("NFKD", column.translate(_LETTERS)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_]", "_", ascii_text)[:_NAME_CHARACTERS]
    if not re.search("[A-Za-z0-9]", name):
        return f"column_{position}"
    if name in RESERVED_NAMES:
        return f"{name}_value"
    return name if name[0].isalpha() else f"c_{name.lstrip('_')}"


def default_features(
    profiles: dict[str, ColumnProfile], roles: Collection[str], used: Collection[str], leave_out: Collection[str]
) -> tuple[tuple[FeatureEntry, ...], list[ColumnSummary]]:
    """Return a feature for each column of numbers or of few levels, and the columns that are left out.

    Args:
        profiles: The content of every column, by name.
        roles: Columns that are keys, the label, the weight or protected attributes; they are neither features nor left out.
        used: Columns from which a key, the label or the weight is computed. They are no features, because they may contain
            the label.
        leave_out: Columns that the spec leaves out.
    """
    candidates = [name for name in profiles if name not in roles]
    reasons = {
        name: _USED if name in used else _reason_to_leave_out(name, profiles[name], is_listed=name in leave_out)
        for name in candidates
    }
    names = dict(zip(candidates, feature_names(candidates), strict=True))
    features = [
        FeatureEntry(
            name=names[column],
            column=None if names[column] == column else column,
            description="" if names[column] == column else column,
            kind="number" if profiles[column].content == "number" else "category",
        )
        for column, reason in reasons.items()
        if not reason
    ]
    left_out = [
        ColumnSummary(
            column or "(no name)", "left out", reason, profiles[column].first_odd if "not numbers" in reason else ""
        )
        for column, reason in reasons.items()
        if reason
    ]
    return tuple(features), left_out


def _reason_to_leave_out(name: str, profile: ColumnProfile, *, is_listed: bool) -> str:
    """Return the reason why a column is not a feature; "" if the column is a feature."""
    if is_listed:
        return "listed in table.leave_out"
    if not name:
        return "has no name in the header; name it to use it"
    if profile.content in _UNUSABLE:
        return _UNUSABLE[profile.content]
    if profile.content in _NOT_NUMBERS:
        return f"{profile.unreadable:,} of {profile.known:,} values are not numbers{_NOT_NUMBERS[profile.content]}"
    if profile.content == "text" and profile.distinct > min(_LEVELS_MAX, max(2, profile.known // _ROWS_OF_LEVEL)):
        return (
            f"text with {profile.distinct:,} different values, too many for a category; list it in [[features]] with kind = "
            "'category' to use it"
        )
    return ""
