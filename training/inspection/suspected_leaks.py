"""Finds columns of an unknown table that are suspected to contain the outcome (target leakage)."""

import duckdb
import numpy as np
import pandas as pd

from training.inspection.column_facts import TableFacts
from training.measures.discrimination import auc
from training.sources.reader.casts import number_cast, text_cast
from training.sources.reader.raw_table import RawTable
from training.spec.reading import ReadingSpec

_ROWS_MAX = 200_000
_SUSPECTED_AUC = 0.95


def suspect_leaks(
    table: RawTable, facts: TableFacts, label: str, bad: str, ignored: set[str], reading: ReadingSpec
) -> dict[str, str]:
    """Return the reason for each suspected column: it ranks the outcome so well that it may have been recorded afterwards.

    Args:
        table: The table; at most 200,000 of its rows are used.
        facts: Facts about the table.
        label: Column of the outcome.
        bad: Value of a bad outcome.
        ignored: Columns that are not features.
        reading: Fields of the spec about the format.
    """
    outcome = text_cast(table, label, label, reading.missing).value
    found = {}
    with duckdb.connect() as connection:
        for column in facts.columns:
            if column.name in ignored or column.name == label or column.kind == "empty":
                continue
            if column.kind == "time" and not column.missing:
                continue
            cast = number_cast if column.kind == "number" else text_cast
            value = cast(table, column.name, column.name, reading.missing).value
            rows = connection.execute(
                f"SELECT {value} AS value, {outcome} = $bad AS bad FROM {table.sql} WHERE {outcome} IS NOT NULL LIMIT {_ROWS_MAX}",  # noqa: S608 - constant or quoted names
                {"bad": bad},
            ).df()
            reason = _reason(rows, is_number=column.kind == "number", levels=len(column.levels))
            if reason:
                found[column.name] = reason
    return found


def _reason(rows: pd.DataFrame, *, is_number: bool, levels: int) -> str:
    """Return the reason why a column is suspected; "" if it is not."""
    labels = rows["bad"].astype(int)
    missing = rows["value"].isna()
    if (share := _auc(labels, missing.astype(int))) >= _SUSPECTED_AUC:
        return f"whether it is missing ranks {share:.1%} of all pairs of a good and a bad row correctly"
    present, known = rows.loc[~missing, "value"], labels[~missing]
    if is_number:
        share = _auc(known, present.astype(float))
    elif levels:
        share = _auc(known, known.groupby(present).transform("mean"))
    if (is_number or levels) and share >= _SUSPECTED_AUC:
        return f"ranks {share:.1%} of all pairs of a good and a bad row correctly"
    return ""


def _auc(labels: pd.Series, values: pd.Series) -> float:
    """Return the AUC of values in the better of both directions; 0.5 if all outcomes are equal."""
    if labels.nunique() < 2:  # noqa: PLR2004 - both outcomes
        return 0.5
    found = auc(np.asarray(labels), np.asarray(values, dtype=np.float64))
    return max(found, 1 - found)
