"""Checks the SQL expressions of a spec.

An expression computes a value of one row from other values of the same row. It cannot use other rows, so it cannot use
data of a later time. Its value does not depend on the current time or on random numbers. Subqueries, aggregates and window functions
are rejected.
"""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import duckdb

from training.errors import SpecInvalid, quote_name, shorten_name
from training.sources.sql.rejections import rejection_clause

_CLASSES = {
    *("BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR", "TYPE"),
}
_CLAUSES = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
_NAMES_SHOWN = 20
_PUNCTUATION = "()+-*/|<>='\",:"
_COMPARISONS = ("BETWEEN", "COMPARISON", "OPERATOR")  # IN is an operator
_EQUALITIES = (
    "COMPARE_EQUAL",
    "COMPARE_NOTEQUAL",
    "COMPARE_DISTINCT_FROM",
    "COMPARE_NOT_DISTINCT_FROM",
    "COMPARE_IN",
    "COMPARE_NOT_IN",
)
_ARITHMETIC = {
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "^",
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "ln",
    "log",
    "exp",
    "pow",
    *("epoch_ms", "make_date", "make_time", "make_timestamp", "to_days", "to_hours", "to_months", "to_timestamp"),
}
_TEXT_FUNCTIONS = {
    *(
        "||",
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "concat",
        "concat_ws",
        "contains",
        "format",
        "left",
        "length",
        "lower",
        "lpad",
        "ltrim",
    ),
    *(
        "prefix",
        "regexp_extract",
        "regexp_full_match",
        "regexp_matches",
        "regexp_replace",
        "replace",
        "reverse",
        "right",
        "rpad",
    ),
    *(
        "rtrim",
        "split_part",
        "starts_with",
        "strptime",
        "substr",
        "substring",
        "suffix",
        "trim",
        "try_strptime",
        "upper",
    ),
}


def referenced_columns(field: str, expression: str, columns: Collection[str]) -> tuple[str, ...]:
    """Check an SQL expression, and return the columns that it uses.

    Args:
        field: Field of the spec, for messages.
        expression: A DuckDB expression. A name with characters other than letters, digits and _ is in double quotes.
        columns: Names of the columns that the expression may use.

    Raises:
        SpecInvalid: The expression is not valid SQL, uses an unknown column, or is not a function of a single row.
    """
    names: dict[str, None] = {}
    for node in _nodes(_parse(field, expression)["select_list"]):
        kind = node["class"]
        function = str(node.get("function_name", "")).lower()
        if kind == "FUNCTION" and function not in _all_functions():
            similar = get_close_matches(function, _row_functions(), 1)
            raise SpecInvalid(
                f"{field}: {expression!r} uses an unknown function, {function!r}{_similar_names(similar)}; use a function of DuckDB that "
                "computes a value from a single row"
            )
        if function == "//":
            raise SpecInvalid(
                f"{field}: {expression!r} uses //, whose result is whole only for some types of columns; write floor(a / b)"
            )
        if kind not in _CLASSES or (kind == "FUNCTION" and function not in _row_functions()):
            shown = function or kind.lower()
            raise SpecInvalid(
                f"{field}: must compute a value from a single row, but uses {shown!r} in {expression!r}; subqueries, aggregates, "
                "window functions, random numbers and the current time are not allowed: use columns of the same row"
            )
        if kind == "COLUMN_REF":
            names[".".join(node["column_names"])] = None
    if unknown := [name for name in names if name not in columns]:
        hints = [match for name in unknown for match in _similar_columns(name, columns)]
        shown = ", ".join(map(shorten_name, [*columns][:_NAMES_SHOWN])) + (
            ", ..." if len(columns) > _NAMES_SHOWN else ""
        )
        raise SpecInvalid(
            f"{field}: {expression!r} uses unknown columns: {', '.join(map(quote_name, unknown))}"
            + _similar_names(hints)
            + f"; write names with other characters than letters, digits and _ in double quotes. Known columns: {shown}"
        )
    return tuple(names)


def _similar_columns(name: str, columns: Collection[str]) -> list[str]:
    """Return the column whose name differs only in case from a name, otherwise the most similar one, if there is one."""
    same = [column for column in columns if column.casefold() == name.casefold()]
    return same or get_close_matches(name, columns, 1)


def _similar_names(names: Collection[str]) -> str:
    """Return a clause with similar names; "" if there are none."""
    return f" (similar: {', '.join(map(quote_name, names))})" if names else ""


def rename_columns(field: str, expression: str, names: Mapping[str, str]) -> str:
    """Return a checked SQL expression with other names for its columns.

    Args:
        field: Field of the spec, for messages.
        expression: The expression.
        names: The new name of every column that the expression uses.
    """
    tree = _parse(field, expression)
    for node in _nodes(tree["select_list"]):
        if node["class"] == "COLUMN_REF":
            node["column_names"] = [names[".".join(node["column_names"])]]
    with duckdb.connect() as connection:
        statement = json.dumps({"error": False, "statements": [{"node": tree, "named_param_map": []}]})
        (sql,) = connection.execute("SELECT json_deserialize_sql(?)", [statement]).fetchall()[0]
    return f"({str(sql).removeprefix('SELECT ')})"


def names_in(expression: str) -> tuple[str, ...]:
    """Return the names that an expression uses; empty if it is not valid SQL."""
    try:
        tree = _parse("", expression)
    except SpecInvalid:
        return ()
    return tuple(
        ".".join(node["column_names"]) for node in _nodes(tree["select_list"]) if node["class"] == "COLUMN_REF"
    )


def text_columns(expression: str, *, is_key: bool = False) -> set[str]:
    """Return the columns that an expression uses as text: their values must be those of the file, with leading zeros.

    Text functions, such as || and left, and tests for equality with quoted texts use a column as text, unless the expression
    also computes with it or compares it with a number. Every other use leaves open what the column is.

    Args:
        expression: A DuckDB expression. The result is empty if it is not valid SQL.
        is_key: Whether the value is a key, such as a customer. Then every column is text with whose values the expression
            does not compute.
    """
    try:
        tree = _parse("", expression)["select_list"]
    except SpecInvalid:
        return set()
    uses = _column_uses(tree)
    every = _column_names(tree) - uses.computed if is_key else set()
    return (uses.texts | set(uses.equal_to) | every) - uses.numbers


@dataclass(slots=True)
class ColumnUses:
    """How an expression uses its columns.

    Attributes:
        texts: The columns that a text function uses.
        numbers: The columns with which the expression computes directly, or which it compares with a number.
        computed: The columns that are anywhere in a computation.
        equal_to: For each column that is tested for equality with quoted texts, these texts.
        ordered_with: For each column that is compared by its order with quoted texts, these texts.
    """

    texts: set[str] = dataclasses.field(default_factory=set)
    numbers: set[str] = dataclasses.field(default_factory=set)
    computed: set[str] = dataclasses.field(default_factory=set)
    equal_to: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    ordered_with: dict[str, set[str]] = dataclasses.field(default_factory=dict)


def column_uses(expression: str) -> ColumnUses:
    """Return how an expression uses its columns.

    Raises:
        SpecInvalid: The expression is not valid SQL.
    """
    return _column_uses(_parse("", expression)["select_list"])


def parsed_columns(expression: str) -> Iterator[tuple[str, str]]:
    """Yield (column, pattern) for each column that a valid expression reads as times with a constant strftime pattern."""
    for node in _nodes(_parse("", expression)["select_list"]):
        if str(node.get("function_name", "")).lower() not in {"strptime", "try_strptime"}:
            continue
        operands = [*_first_nodes(node["arguments"])]
        names = [".".join(one["column_names"]) for one in operands if one["class"] == "COLUMN_REF"]
        patterns = [str(one["literal"]["text"]) for one in operands if one["class"] == "CONSTANT"]
        yield from zip(names, patterns, strict=False)


def computed_columns(expression: str) -> set[str]:
    """Return the columns with which a valid expression computes, or which it compares with a number."""
    uses = column_uses(expression)
    return uses.computed | uses.numbers


def _column_uses(tree: Any) -> ColumnUses:
    """Return how the expression of a syntax tree uses its columns."""
    uses = ColumnUses()
    for node in _nodes(tree):
        operands = [each for value in node.values() if isinstance(value, dict | list) for each in _first_nodes(value)]
        names = {".".join(each["column_names"]) for each in operands if each["class"] == "COLUMN_REF"}
        literals = [each["literal"] for each in operands if each["class"] == "CONSTANT"]
        function = str(node.get("function_name", "")).lower()
        if function in _TEXT_FUNCTIONS:
            uses.texts |= names
        elif function in _ARITHMETIC:
            uses.numbers |= names
            uses.computed |= _column_names(node)
        elif node["class"] in _COMPARISONS:
            _add_comparison(uses, node["type"], names, literals)
    return uses


def _add_comparison(uses: ColumnUses, kind: str, names: Collection[str], literals: Sequence[Mapping[str, Any]]) -> None:
    """Add a comparison of columns with constants.

    Args:
        uses: The uses of the expression.
        kind: The type of the node.
        names: The columns that are operands.
        literals: The constants that are operands.
    """
    kinds = {literal["kind"] for literal in literals}
    if kinds & {"INTEGER", "NUMERIC"}:
        uses.numbers.update(names)
    elif "STRING" in kinds:
        quoted = {str(literal["text"]) for literal in literals if literal["kind"] == "STRING"}
        compared = uses.equal_to if kind in _EQUALITIES else uses.ordered_with
        for name in names:
            compared.setdefault(name, set()).update(quoted)


def _column_names(tree: Any) -> set[str]:
    """Return the columns in a part of a syntax tree."""
    return {".".join(each["column_names"]) for each in _nodes(tree) if each["class"] == "COLUMN_REF"}


def _first_nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the expression nodes of a part of a syntax tree that are in no other node of that part."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
            return
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from _first_nodes(value)


def is_plain_name(text: str) -> bool:
    """Return whether a text can only be the name of a column: it has no punctuation of SQL and is no expression of words.

    Column Names may have several words, and x IS NULL is an expression. If a column has the text of an expression as its
    name, it is read and not computed.
    """
    if any(character in text for character in _PUNCTUATION):
        return False
    return not re.search(r"[\s%^&!~]", text) or not _is_expression_of_words(text)


@cache
def _is_expression_of_words(text: str) -> bool:
    """Return whether a text is valid SQL that computes a value from a column."""
    try:
        (node,) = _parse("", text)["select_list"]
    except SpecInvalid:
        return False
    return node["class"] not in {"COLUMN_REF", "CONSTANT"} and bool(_column_names(node))


def _parse(field: str, expression: str) -> Any:
    """Return the syntax tree of SELECT with an expression; raise SpecInvalid if the text is not a single expression."""
    with duckdb.connect() as connection:
        (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchall()[0]
    tree = json.loads(text)
    node = {} if tree["error"] else tree["statements"][0]["node"]
    is_single = (
        expression.strip() != ""
        and node.get("type") == "SELECT_NODE"
        and len(tree["statements"]) == 1
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node.get(clause) for clause in _CLAUSES)
    )
    if not is_single:
        problem = f", which {rejection_clause(tree['error_message'])}" if tree["error"] else ""
        raise SpecInvalid(
            f"{field}: must be one SQL expression such as Quantity * UnitPrice or age < 18, got {expression!r}{problem}; correct the "
            "expression"
        )
    return node


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every expression node of a syntax tree."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


@cache
def _all_functions() -> frozenset[str]:
    """Return the names of all functions of DuckDB."""
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    return frozenset(str(name) for (name,) in rows)


@cache
def _row_functions() -> frozenset[str]:
    """Return the names of the functions whose value depends on their arguments only."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            """SELECT function_name FROM duckdb_functions() GROUP BY function_name
            HAVING BOOL_AND(function_type = 'scalar' AND stability = 'CONSISTENT') OR function_name IN ('nullif', 'ifnull')"""
        ).fetchall()
    return frozenset(str(name).lower() for (name,) in rows) - {"current_localtimestamp", "current_localtime"}
