"""Selects the columns of a table whose cells show how numbers are written.

Keys, categories and columns that nothing reads are no evidence: the customer 4711.1 does not show that 1.234 has decimals.
"""

from collections.abc import Collection

from training.sources.derived_columns import ColumnDerivation, expression_columns, text_sources
from training.sources.reader.number_format import AllColumnsExcept, NumberColumns
from training.sources.sql.expressions import names_in, text_columns
from training.spec import Spec


def number_columns(spec: Spec, derivations: Collection[ColumnDerivation]) -> NumberColumns:
    """Return the columns of numbers; if the spec lists no features, return the columns without numbers.

    Args:
        spec: The spec, with the names of the columns that it computes.
        derivations: The columns that it computes.
    """
    assert spec.table is not None
    numbers = {attribute.column for attribute in spec.fairness.attributes if attribute.bands}
    numbers |= expression_columns(derivations)
    # A condition may read a column as numbers, even if the column is no feature.
    conditions = [one.where for one in spec.table.exclude]
    conditions += [spec.table.reject.where] if spec.table.reject else []
    numbers |= {name for condition in conditions for name in {*names_in(condition)} - text_columns(condition)}
    numbers |= {spec.table.weight} if spec.table.weight else set()
    if spec.features:
        return numbers | {feature.column or feature.name for feature in spec.features if feature.kind == "number"}
    texts = {spec.table.label.column, *spec.table.leave_out, *text_sources(derivations)}
    texts |= {one.column for one in spec.fairness.attributes}
    keys = {spec.table.customer_id, spec.table.market_column, spec.table.as_of_column}
    return AllColumnsExcept({name for name in keys if name} | (texts - numbers))
