"""Writes a starter spec for an unknown table. `fit` accepts the spec unchanged; its comments state what to check."""

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from training.errors import DataInvalid
from training.inspection.column_facts import ColumnFacts, TableFacts
from training.inspection.column_roles import ColumnRoles
from training.sources.currencies import currency_decimals
from training.sources.default_features import feature_names
from training.sources.reader.unreadable import country_code
from training.spec.reading import ReadingSpec
from training.spec.toml_text import toml_text

_HISTORY_DAYS, _HORIZON_DAYS = 92, 90  # the default horizon, and the days that a log must have before the first cut
_LEVELS_MIN = 2
_LEVELS_MAX = 50
_DECIMALS_MAX = 6
_CURRENCY_SIGNS = {
    "€": "EUR",
    "EURO": "EUR",
    "$": "USD",
    "US$": "USD",
    "£": "GBP",
    "¥": "JPY",
    "ZŁ": "PLN",
    "KČ": "CZK",
    "₹": "INR",
}


def starter_spec(
    facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str], path: str, spec: Path, reading: ReadingSpec
) -> str:
    """Return the text of a starter spec.

    Args:
        facts: Facts about the table.
        roles: The probable roles of its columns.
        leaks: For each column that is suspected to contain the outcome, the reason for the suspicion.
        path: Path of the table, as the user wrote it.
        spec: Path of the spec file. In the spec, the path of the table is relative to the folder of the spec file.
        reading: The format that the user stated.

    Raises:
        DataInvalid: The table has neither a customer and an outcome, nor the columns of a transaction log.
    """
    own_path = os.path.relpath(path, spec.parent)
    if roles.is_log:
        return "\n".join(_log_lines(facts, roles, own_path, reading)) + "\n"
    missing = [what for what, found in (("customer", roles.customer), ("label", roles.label)) if not found]
    if missing:
        lacking = [what for what, found in (("times", roles.time), ("amounts", roles.money)) if not found]
        log = (
            f". A transaction log needs {' and '.join(lacking)} too: name these columns accordingly" if lacking else ""
        )
        raise DataInvalid(
            f"{facts.name}: no column looks like the {' or the '.join(missing)}; specify it with "
            f"{' and '.join(f'--{what} COLUMN' for what in missing)}. A customer has a different value in every row, and a "
            f"label has two values{log}"
        )
    return "\n".join(_table_lines(facts, roles, leaks, own_path, reading)) + "\n"


def _table_lines(
    facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str], path: str, reading: ReadingSpec
) -> Iterator[str]:
    """Yield the lines of the spec of a table."""
    customer, label = roles.customer[0], roles.label[0]
    family = re.sub(r"[^a-z0-9_]", "_", feature_names([Path(path).stem])[0].lower())[:32].rstrip("_")
    yield from _head(facts, family, f"Customers of {Path(path).name} with a bad outcome ({label} = {roles.bad})")
    yield ""
    yield "[table]"
    yield f"path = {toml_text(path)}"
    yield from _reading_lines(reading)
    yield f"customer_id = {toml_text(customer)}{_others(roles.customer)}"
    yield f"label = {{ column = {toml_text(label)}, bad = {toml_text(roles.bad)} }}{_label_comment(facts, roles)}"
    yield from _market_lines(facts, roles, "market_column")
    yield from _time_lines(facts, roles, reading)
    yield ""
    yield "# The parameter search makes 20 trials by default; more trials take longer and may find a better model."
    yield "[search]"
    yield "trials = 10"
    yield from _feature_lines(facts, roles, leaks)


def _head(facts: TableFacts, family: str, title: str) -> Iterator[str]:
    """Yield the first lines of a spec."""
    yield f"# Starter spec for {facts.name}, written by `python -m training inspect`. Check the lines that have a comment."
    yield f"# {facts.confirmation}; {facts.rows:,} rows"
    yield ""
    yield f"family = {toml_text(family)}"
    yield f"title = {toml_text(title)}"
    yield 'purpose = "State the decision that uses the model."  # part of the report'
    yield f"population = {toml_text(f'{facts.rows:,} rows of {facts.name}')}"


def _reading_lines(reading: ReadingSpec) -> Iterator[str]:
    """Yield the fields of the format that the user stated. `fit` detects the other fields again."""
    for name, value in reading.model_dump(
        exclude_defaults=True, include={"separator", "decimal", "thousands", "encoding"}
    ).items():
        yield f"{name} = {toml_text(value)}"


def _others(names: tuple[str, ...]) -> str:
    """Return a comment with the other candidates."""
    return f"  # other candidates: {', '.join(map(repr, names[1:4]))}" if len(names) > 1 else ""


def _label_comment(facts: TableFacts, roles: ColumnRoles) -> str:
    """Return a comment with the values of the label."""
    column = facts.find(roles.label[0])
    counts = ", ".join(f"{value!r} in {count:,} rows" for value, count in (column.levels if column else {}).items())
    doubt = "" if roles.is_bad_certain else "; check which value is the bad outcome"
    more = f"; other candidates: {', '.join(map(repr, roles.label[1:4]))}" if len(roles.label) > 1 else ""
    return f"  # {counts}{doubt}{more}"


def _market_lines(facts: TableFacts, roles: ColumnRoles, field: str) -> Iterator[str]:
    """Yield the line of the market: a column of codes, a column of names of countries, or a code to replace."""
    named = facts.find(roles.country)
    if roles.market:
        yield f"{field} = {toml_text(roles.market[0])}{_others(roles.market)}"
    elif named is not None:
        codes = ", ".join(f'{toml_text(name)} = "{country_code(name)}"' for name in named.levels)
        yield f"market = {{ column = {toml_text(named.name)}, values = {{ {codes} }} }}  # check the code of every name"
    else:
        yield 'market = "XX"  # replace XX by the country of the customers, two letters such as DE'


def _time_lines(facts: TableFacts, roles: ColumnRoles, reading: ReadingSpec) -> Iterator[str]:
    """Yield the lines of the time at which the features were known."""
    usable = [
        one
        for name in roles.time
        if (one := facts.find(name)) and not one.missing and not one.odd and len(one.time_formats) == 1
    ]
    if not usable:
        today = dt.datetime.now(dt.UTC).date()
        yield f"as_of = {today}  # replace it by the day on which the features were known"
        if (time := facts.find(roles.time[0]) if roles.time else None) is not None:
            yield f"# as_of_column = {toml_text(time.name)}  # instead of as_of, if it is that day: {_time_problem(time)}"
        return
    yield f"as_of_column = {toml_text(usable[0].name)}  # the day on which the features were known, {usable[0].low} to {usable[0].high}"
    yield from _format_lines(usable[0], reading)
    yield from _zone_lines(usable[0], roles)


def _time_problem(time: ColumnFacts) -> str:
    """Return what a person must do before a column of times can be the time of each row."""
    if len(time.time_formats) > 1:
        return f"state time_format = {' or '.join(map(toml_text, time.time_formats))}, because all of them fit"
    if time.odd:
        return f"correct its {time.odd:,} values that are no times, the first is {time.first_odd}"
    return f"complete or exclude its {time.missing:,} rows without a value"


def _format_lines(time: ColumnFacts, reading: ReadingSpec) -> Iterator[str]:
    """Yield the line of the format of a time; a comment if several formats fit, because `fit` must not guess a day."""
    first, *others = map(toml_text, time.time_formats)
    if others:
        yield f"# time_format = {first}  # or {' or '.join(others)}: state the one that the file means, because all of them fit"
    elif time.time_formats[0] and reading.time_format is None:
        yield f"time_format = {first}"


def _zone_lines(time: ColumnFacts, roles: ColumnRoles) -> Iterator[str]:
    """Yield the line of the time zone if the times have a zone or an offset."""
    if time.has_zone:
        several = (
            ', or by one for each market, such as { DE = "Europe/Berlin" }' if roles.market or roles.country else ""
        )
        yield f'time_zone = "UTC"  # replace it by the zone in which a day of the market begins, such as "Europe/Berlin"{several}'


def _feature_lines(facts: TableFacts, roles: ColumnRoles, leaks: Mapping[str, str]) -> Iterator[str]:
    """Yield a [[features]] table for each column that can be a feature, and a comment for each column that cannot."""
    used = {roles.customer[0], roles.label[0], *(roles.market[:1] or [roles.country]), *roles.time[:1]}
    reasons = {
        one.name: reason
        for one in facts.columns
        if one.name not in used and (reason := _unusable(one, leaks, facts.rows))
    }
    features = [one for one in facts.columns if one.name not in used and one.name not in reasons]
    if not features:
        raise DataInvalid(
            f"{facts.name}: no column can be a feature; a feature is a number, or text with 2 to 50 values; add such a column"
        )
    columns = [one.name for one in features]
    names = dict(zip(columns, feature_names(columns), strict=True))
    yield ""
    yield "# sign = 1 states that a higher value never lowers the risk, and sign = -1 that it never raises the risk."
    for one in features:
        yield "[[features]]"
        yield f"name = {toml_text(names[one.name])}"
        if names[one.name] != one.name:
            yield f"column = {toml_text(one.name)}"
        yield f"description = {toml_text(one.name)}"
        if one.kind == "text":
            yield 'kind = "category"'
        if one.odd:
            yield f"missing = [{_toml_list(one.odd_values)}]  # {one.odd:,} values are not numbers, the first is {one.first_odd}"
        if one.missing:
            yield f"# missing in {one.missing:,} of {facts.rows:,} rows"
        yield ""
    if reasons:
        yield "# Columns that are not features:"
        yield from (f"#   {toml_text(name)}: {reason}" for name, reason in reasons.items())


def _unusable(column: ColumnFacts, leaks: Mapping[str, str], rows: int) -> str:
    """Return the reason why a column cannot be a feature; "" if the column can be a feature."""
    reasons = {
        f"suspected to state the outcome: {leaks.get(column.name)}": column.name in leaks,
        "has the same value in all rows, or none": column.kind == "empty" or column.distinct < _LEVELS_MIN,
        "days and times are not features": column.kind == "time",
        f"text with {column.distinct:,} values; a category has at most {_LEVELS_MAX}": column.kind == "text"
        and column.distinct > _LEVELS_MAX,
        "has a different value in every row, like a number of a customer": column.distinct == rows
        and not column.decimals,
        f"{column.odd:,} values are not numbers, the first is {column.first_odd}; {_odd_advice(column)}": column.odd > 0
        and (not column.odd_values or bool(column.unusual_values)),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _odd_advice(column: ColumnFacts) -> str:
    """Return what to do about the odd values of a column that cannot be a feature as it is."""
    if not column.unusual_values:
        return "correct them, or state them in `missing` if they are missing values"
    others = f", and state missing = [{_toml_list(column.odd_values)}]" if column.odd_values else ""
    return f"correct them if they are numbers in an unusual spelling, such as {', '.join(map(repr, column.unusual_values))}{others}"


def _toml_list(values: Iterable[str]) -> str:
    """Return the elements of a list of texts in TOML."""
    return ", ".join(map(toml_text, values))


def _log_lines(facts: TableFacts, roles: ColumnRoles, path: str, reading: ReadingSpec) -> Iterator[str]:
    """Yield the lines of the spec of a transaction log."""
    time = facts.find(roles.time[0])
    assert time is not None
    yield from _head(facts, "churn", f"Customers of {Path(path).name} who stop buying")
    yield ""
    yield "[log]"
    yield f"path = {toml_text(path)}"
    yield from _reading_lines(reading)
    yield from _format_lines(time, reading)
    yield from _zone_lines(time, roles)
    if not roles.market:
        yield from _market_lines(facts, roles, "market")
    yield from _currency_lines(facts, roles)
    if not roles.basket and not roles.product:
        yield 'duplicates = "keep"  # equal lines are several sales; "drop" if such lines were delivered twice'
    yield ""
    yield from _column_lines(facts, roles, time.name)
    days = _days(time)
    if 0 < days < _HISTORY_DAYS + 2 * _HORIZON_DAYS:
        horizon = max(1, (days - _HISTORY_DAYS) // 2)
        yield ""
        yield f"# The default horizon of {_HORIZON_DAYS} days would be too long for a log of {days} days."
        yield "[snapshots]"
        yield f"horizon_days = {horizon}  # a customer is bad who buys nothing in this number of days"
        yield f"active_days = {2 * horizon}  # only customers who bought in this number of days are scored"


def _days(time: ColumnFacts) -> int:
    """Return the number of days from the earliest to the latest time; 0 if one of them is no day of the calendar."""
    try:
        return (dt.date.fromisoformat(time.high) - dt.date.fromisoformat(time.low)).days + 1
    except ValueError:
        return 0


def _currency_lines(facts: TableFacts, roles: ColumnRoles) -> Iterator[str]:
    """Yield the currency of a transaction log, and the decimals of its amounts if the currency has fewer.

    The currency is the most frequent one in the column of currencies, or the one in the name of the amount.
    """
    column = facts.find(roles.currency) if roles.currency else None
    if column is None:
        named = roles.currency_of_name
        currency = named or "EUR"
        origin = f"of the name {roles.money[0]!r}" if named else "assumed, because no column states it"
        yield f"currency = {toml_text(currency)}  # {origin}; replace it if the amounts are in another currency"
    else:
        counts = Counter[str]()
        for value, count in column.levels.items():
            counts[_currency_code(value)] += count
        (currency, rows), *others = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        yield f"currency = {toml_text(currency)}  # of {rows:,} of {facts.rows:,} rows"
        if others:
            listed = ", ".join(code for code, _ in others)
            yield f'# other_currencies = "leave_out"  # leaves out the amounts in {listed}, which `fit` refuses otherwise. If each'
            yield f'# market has one currency, write it for each, such as currency = {{ DE = "{currency}", PL = "{others[0][0]}" }}'
    decimals = sum(one.decimals for name in (roles.money[0], roles.quantity) if (one := facts.find(name)))
    if decimals > currency_decimals(currency):
        unit = "for amounts with that many decimals; round(..., 2) as the amount rounds them"
        yield f"decimals = {min(decimals, _DECIMALS_MAX)}  # {unit}"


def _currency_code(value: str) -> str:
    """Return the code of a currency that a cell states as a code or a sign, otherwise XXX."""
    text = value.strip().upper()
    return text if re.fullmatch("[A-Z]{3}", text) else _CURRENCY_SIGNS.get(text, "XXX")


def _currency_source(column: ColumnFacts) -> str:
    """Return the column of the currencies in TOML, with a table of values if its cells are not codes."""
    codes = {value: _currency_code(value) for value in column.levels}
    if all(value == code for value, code in codes.items()):
        return toml_text(column.name)
    pairs = ", ".join(f'{toml_text(value)} = "{code}"' for value, code in codes.items())
    return f"{{ column = {toml_text(column.name)}, values = {{ {pairs} }} }}  # check the code of every value"


def _amount(roles: ColumnRoles) -> str:
    """Return the amount of a line in a transaction log: a column, or the product of a quantity and a price."""
    if not roles.quantity:
        return roles.money[0]
    quantity, price = (name.replace('"', '""') for name in (roles.quantity, roles.money[0]))
    return f'"{quantity}" * "{price}"'


def _column_lines(facts: TableFacts, roles: ColumnRoles, time: str) -> Iterator[str]:
    """Yield the columns of a transaction log."""
    yield "[log.columns]"
    yield f"customer_id = {toml_text(roles.customer[0])}{_others(roles.customer)}"
    yield f"time = {toml_text(time)}"
    yield f"amount = {toml_text(_amount(roles))}{_others(roles.money)}  # an expression such as Quantity * UnitPrice is possible"
    optional = {"basket": roles.basket, "product": roles.product, "category": roles.category}
    if roles.market:
        optional = {"market": roles.market[0]} | optional
    for role, name in optional.items():
        if name and name not in {roles.customer[0], time, roles.money[0]}:
            yield f"{role} = {toml_text(name)}"
    if (currency := facts.find(roles.currency)) is not None:
        yield f"currency = {_currency_source(currency)}"
