"""An expression of a spec can use only the values of its own row, so it cannot use later data."""

import pytest

from training.errors import SpecInvalid
from training.sources.sql.expressions import referenced_columns

COLUMNS = ("Quantity", "Unit price", "day")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('Quantity * "Unit price"', ("Quantity", "Unit price")),
        ("CASE WHEN Quantity > 0 THEN 1 ELSE 0 END", ("Quantity",)),
        ("COALESCE(NULLIF(Quantity, 0), 1)", ("Quantity",)),
        ("CAST(Quantity AS DECIMAL(18, 2)) BETWEEN 1 AND 2", ("Quantity",)),
        ("date_diff('day', day, DATE '2026-01-01')", ("day",)),
        ("ln(1 + Quantity) -- a comment", ("Quantity",)),
        ("1.5", ()),
    ],
)
def test_an_expression_of_one_row_lists_its_columns(expression: str, expected: tuple[str, ...]) -> None:
    assert referenced_columns("features.x.expr", expression, COLUMNS) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "SUM(Quantity)",
        "LEAD(Quantity) OVER (ORDER BY day)",
        "SUM(Quantity) OVER ()",
        "(SELECT MAX(Quantity) FROM valid_lines)",
        "Quantity IN (SELECT 1)",
        "EXISTS (FROM valid_lines)",
        "random()",
        "now()",
        "today()",
        "current_localtimestamp()",
        "getvariable('x')",
        "current_setting('TimeZone')",
        "COLUMNS(*)",
        "*",
        "$cut",
        "?",
        "current_date",
        "Quantity) FROM other WHERE (Quantity",
        "Quantity) WHERE (1 = 1",
        "Quantity), (day",
        "1); DROP TABLE lines; SELECT (1",
        "Quantity *",
        "",
    ],
)
def test_an_expression_that_could_look_at_other_rows_or_at_the_clock_is_rejected(expression: str) -> None:
    with pytest.raises(SpecInvalid, match=r"^features\.x\.expr: "):
        referenced_columns("features.x.expr", expression, COLUMNS)


def test_an_unknown_column_is_named_with_a_similar_one() -> None:
    with pytest.raises(SpecInvalid, match=r"unknown columns: 'Quantitiy' \(similar: 'Quantity'\)"):
        referenced_columns("log.columns.amount", "Quantitiy * 2", COLUMNS)
