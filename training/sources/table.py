"""Reads a table with one row per market, customer and time, and converts it to samples.

Every column is read once, as the type that the spec gives it. Training rejects the table if more values of a column are
unreadable than `max_unreadable_share` allows. Keys have no such tolerance. The summary has a line for every column.
"""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from grounds_record.printable_text import hidden_characters
from models.schema import UNSEEN, Schema, level_codes
from training.errors import DataInvalid, SpecInvalid, quote_name, shorten_list
from training.sources.default_features import RESERVED_NAMES, default_features
from training.sources.derived_columns import input_columns, source_columns
from training.sources.incomplete_markets import small_markets, too_small_label
from training.sources.key_columns import key_problems
from training.sources.labels import are_texts, bad_and_good, canonical_label
from training.sources.loaded_table import RECORD, ColumnProfile, LoadedTable, load_table
from training.sources.number_columns import number_columns
from training.sources.protected_attributes import attribute_columns
from training.sources.reader.casts import MISSING_MARKERS, ColumnCast, key_cast, number_cast, text_cast, time_cast
from training.sources.reader.column_summary import ColumnSummary
from training.sources.reader.raw_table import quote_literal
from training.sources.reader.unreadable import UnreadableValues, find_unreadable, unreadable_sentences
from training.sources.samples import WEIGHT, Sample, Samples, Waterfall, hash_bucket
from training.sources.spec_columns import separate_table_columns
from training.sources.sql.conditions import Condition
from training.sources.sql.expressions import names_in
from training.spec import (
    FairnessSpec,
    FeatureEntry,
    HashSplit,
    ReadingSpec,
    Spec,
    TableSpec,
    check_feature_names,
    toml_text,
)
from training.spec.sources import SourceEntry

_HERE = Path()
_PROBLEMS_SHOWN = 8
_LEVELS_SHOWN = 5
_EXAMPLE_CHARACTERS = 40
_NULL_LEVELS = ("\\N", "(null)", "<null>", "(NULL)", "<NULL>", "[NULL]")  # of MySQL, Hive and database clients
_KEY_USES = {"market": "market", "customer_id": "customer", "as_of": "time", "weight": "weight"}


@dataclass(frozen=True, slots=True)
class CustomerRows:
    """The rows of a table that a fitted model can score.

    Attributes:
        rows: Rows with the columns of Samples.rows, except the label and the protected attributes.
        waterfall: Pairs (label, count) from the rows read to the rows used.
        columns: What training does with each column.
        confirmation: One line that states how the file is read.
    """

    rows: pd.DataFrame
    waterfall: Waterfall
    columns: tuple[ColumnSummary, ...]
    confirmation: str


def read_table_samples(spec: Spec, source: SourceEntry, folder: Path = _HERE) -> tuple[Spec, Samples]:
    """Read the table of a family and split it by customer.

    Args:
        spec: The spec of the family.
        source: The file or files of the table, or its query.
        folder: Folder of the spec file; the paths of tables of values are relative to this folder.

    Returns:
        The spec, in which `features` lists every feature of the model, and the samples.

    Raises:
        SpecInvalid: The table lacks a column of the spec.
        DataInvalid: The data are invalid; the message lists every invalid column.
    """
    spec, derivations = separate_table_columns(spec)
    table_spec = spec.table
    assert table_spec is not None
    with load_table(source, table_spec, number_columns(spec, derivations), derivations, folder) as loaded:
        _check_columns(spec, loaded, for_fit=True)
        waterfall = _set_rejected_aside(spec, loaded, _exclude(spec, loaded))
        waterfall = _drop_unlabelled(table_spec, loaded, waterfall)
        spec, left_out = _list_features(spec, table_spec, loaded)
        check_feature_names(spec, tuple(feature.name for feature in spec.features))
        reader = _TableReader(spec, table_spec, loaded)
        cells, problems = reader.read(for_fit=True)
        label, label_problem, label_use = _labels(table_spec, cells)
        _refuse([*problems, *reader.problems_of_unknown_categories(cells), *label_problem])
        summary = reader.summary(cells, label_use, left_out)
        rejected_cells = _read_rejected(spec, table_spec, loaded)
    rows = _assemble_rows(spec, cells).assign(label=label)
    rows, cells, waterfall, small = _leave_out_small_markets(spec, rows, cells, waterfall)
    unused = int((rows["sample"] == "NONE").sum())  # these rows are not used, but they are in the feature file
    if unused:
        waterfall = (*waterfall, ("left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER", -unused))
    levels = {
        feature.name: feature.levels or _levels(cells[f"feature:{feature.name}"][rows["sample"] == "FIT"])
        for feature in spec.features
        if feature.kind == "category"
    }
    codes = {name: _level_codes(cells[f"feature:{name}"], levels[name]) for name in levels}
    rows = rows.assign(**attribute_columns(spec, cells), **codes)
    waterfall = (*waterfall, ("rows used", len(rows) - unused))
    samples = Samples(
        rows,
        tuple(feature.name for feature in spec.features),
        waterfall,
        loaded.raw.digest,
        levels,
        columns=summary,
        confirmation=loaded.raw.confirmation,
        left_out_markets=small,
        hold_out=spec.split.hold_out_name,
        rejected=_assemble_rejected(spec, rejected_cells, levels, small),
    )
    return spec, samples


def _leave_out_small_markets(
    spec: Spec, rows: pd.DataFrame, cells: pd.DataFrame, waterfall: Waterfall
) -> tuple[pd.DataFrame, pd.DataFrame, Waterfall, tuple[str, ...]]:
    """Return the rows and cells without the markets that are too small, the waterfall, and these markets."""
    small = small_markets(rows, spec.markets)
    remains = ~rows["market"].isin(small)
    lines = tuple((too_small_label(market), -count) for market, count in small.items())
    kept_rows, kept_cells = (table[remains].reset_index(drop=True) for table in (rows, cells))
    return kept_rows, kept_cells, (*waterfall, *lines), tuple(small)


def read_table_customers(
    spec: Spec, source: SourceEntry, schema: Schema, at: dt.date | None, folder: Path = _HERE
) -> CustomerRows:
    """Read the features that a fitted model uses, for all customers of a table. The table needs no label column.

    Args:
        spec: The spec of the family.
        source: The file or files of the table, or its query.
        schema: The schema of the model.
        at: Day on which the features were known; None for the spec's as_of or as_of_column.
        folder: Folder of the spec file; the paths of tables of values are relative to this folder.

    Raises:
        SpecInvalid: The table lacks a column of the spec, or `at` is given although the spec has an as_of_column.
        DataInvalid: The data are invalid; the message lists every invalid column.
    """
    table_spec = spec.table
    assert table_spec is not None
    if at is not None:
        if table_spec.as_of_column is not None:
            raise SpecInvalid(
                f"--at: column {quote_name(table_spec.as_of_column)} already contains the date of each row; remove --at"
            )
        table_spec = table_spec.model_copy(update={"as_of": at})
    levels = {feature.name: feature.levels for feature in schema.features if feature.kind == "category"}
    features = tuple(
        feature.model_copy(update={"levels": levels.get(feature.name)})
        for feature in spec.features or _features_of_schema(schema)
    )
    spec = spec.model_copy(update={"features": features, "table": table_spec})
    spec, derivations = separate_table_columns(spec)
    derivations = tuple(one for one in derivations if one.field not in {"table.label", "table.weight"})
    table_spec = spec.table
    assert table_spec is not None
    with load_table(source, table_spec, number_columns(spec, derivations), derivations, folder) as loaded:
        _check_columns(spec, loaded, for_fit=False)
        waterfall = _exclude(spec, loaded)
        reader = _TableReader(spec, table_spec, loaded)
        cells, problems = reader.read(for_fit=False)
        _refuse(problems)
        summary = reader.summary(cells, "", [])
    rows = _assemble_rows(spec, cells)
    rows = rows.assign(**{name: _level_codes(cells[f"feature:{name}"], known) for name, known in levels.items()})
    return CustomerRows(rows, (*waterfall, ("rows used", len(rows))), summary, loaded.raw.confirmation)


def _list_features(spec: Spec, table_spec: TableSpec, loaded: LoadedTable) -> tuple[Spec, list[ColumnSummary]]:
    """Return the spec with its features, which are the default ones if it lists none, and the columns that are left out then."""
    if spec.features:
        return spec, []
    profiles = _profiles(loaded, table_spec)
    features, left_out = default_features(
        profiles,
        _role_columns(spec),
        source_columns(loaded.raw),
        table_spec.leave_out,
    )
    _check_number_format(loaded, profiles, [_column_name(one) for one in features if one.kind == "number"])
    return spec.model_copy(update={"features": features}), left_out


def _check_number_format(loaded: LoadedTable, profiles: Mapping[str, ColumnProfile], numbers: Sequence[str]) -> None:
    """Raise DataInvalid if a number may be misread because only columns of codes showed how numbers are written.

    A column such as 47.11 looks like numbers in the first lines of a file, and a later 01.11 shows that it has codes.

    Args:
        loaded: The table.
        profiles: The content of every column, by name.
        numbers: The columns of numbers.
    """
    proofs = [profiles[name] for name in sorted(loaded.raw.numbers.proved_by) if name in profiles]
    if not proofs or not all(profile.first_code for profile in proofs):
        return
    mark, pattern = loaded.raw.numbers.decimal, quote_literal(loaded.raw.numbers.doubtful_pattern)
    for name in numbers:
        column = loaded.raw.find(name)
        assert column is not None
        if not column.is_text or column.numbers is not None:
            continue
        doubtful = f"regexp_full_match(trim({column.sql}), {pattern})"
        query = f"SELECT COUNT(*), ANY_VALUE({column.sql}) FROM cells WHERE {doubtful}"  # noqa: S608 - quoted
        count, example = loaded.connection.execute(query).fetchall()[0]
        if count:
            raise DataInvalid(
                f"column {quote_name(name)}: {count:,} values such as {example!r} have either three decimals or a separator of thousands, "
                f"because the only column that shows the decimal mark has codes, first {proofs[0].first_code}; set decimal = {mark!r} or "
                f"thousands = {mark!r} in [table]"
            )


def _features_of_schema(schema: Schema) -> tuple[FeatureEntry, ...]:
    """Return the features of a model whose spec lists none.

    The description of such a feature is the name of its column, because the name may have characters that the name of a
    feature cannot have.
    """
    return tuple(
        FeatureEntry(
            name=feature.name,
            column=None if feature.description == feature.name else feature.description,
            kind=feature.kind,
            missing=feature.missing,
        )
        for feature in schema.features
    )


def _column_name(feature: FeatureEntry) -> str:
    """Return the name of a feature's column."""
    return feature.column or feature.name


def _role_columns(spec: Spec) -> set[str]:
    """Return the columns of the keys, the label, the weight and the protected attributes."""
    assert spec.table is not None
    table = spec.table
    keys = {table.customer_id, table.market_column, table.as_of_column, table.label.column, table.weight}
    return {name for name in keys if name is not None} | {one.column for one in spec.fairness.attributes}


def _profiles(loaded: LoadedTable, reading: ReadingSpec) -> dict[str, ColumnProfile]:
    """Return the profile of every column by name. Of several columns without a name, only the last has a profile."""
    return {column.name: loaded.profile(column, reading) for column in loaded.raw.columns}


def _check_columns(spec: Spec, loaded: LoadedTable, *, for_fit: bool) -> None:
    """Raise SpecInvalid if the table lacks a column of the spec, or if a feature is the label or has a reserved name.

    Only a fit requires the columns of the label and of the protected attributes.
    """
    assert spec.table is not None
    wanted = {
        "table.customer_id": spec.table.customer_id,
        "table.market_column": spec.table.market_column,
        "table.as_of_column": spec.table.as_of_column,
    } | {f"features.{feature.name}": _column_name(feature) for feature in spec.features}
    if for_fit:
        wanted |= {"table.label": spec.table.label.column, "table.weight": spec.table.weight}
        wanted |= {
            f"fairness.attributes.{attribute.column}": attribute.column for attribute in spec.fairness.attributes
        }
    loaded.raw.require({field: name for field, name in wanted.items() if name is not None})
    label = spec.table.label.column
    if any(_column_name(feature) == label for feature in spec.features):
        raise SpecInvalid(f"features: {quote_name(label)} is the label and cannot be a feature; remove it")
    if reserved := sorted(feature.name for feature in spec.features if feature.name in RESERVED_NAMES):
        raise SpecInvalid(
            f"features: {', '.join(reserved)} are names of columns that training adds; give these features other names, and "
            "set column to the names in the table"
        )


def _exclude(spec: Spec, loaded: LoadedTable) -> Waterfall:
    """Delete the rows that match an exclusion of the spec, and return the waterfall.

    A row that matches several exclusions is counted under the first of these exclusions.
    """
    assert spec.table is not None
    waterfall = [("rows read", loaded.rows)]
    for exclusion in spec.table.exclude:
        condition = Condition(f"table.exclude.{exclusion.code}.where", exclusion.where)
        records = condition.matching_records(loaded, spec.table)
        loaded.connection.register("matching_records", pd.DataFrame({"matching": records}))
        loaded.connection.execute(f"DELETE FROM cells WHERE {RECORD} IN (SELECT matching FROM matching_records)")  # noqa: S608 - a constant
        waterfall.append((f"left out: {exclusion.code}", -len(records)))
    if loaded.rows + sum(count for _, count in waterfall[1:]) == 0:
        raise DataInvalid("table.exclude: the conditions exclude every row; check them")
    return tuple(waterfall)


def _set_rejected_aside(spec: Spec, loaded: LoadedTable, waterfall: Waterfall) -> Waterfall:
    """Move the rejected applicants from `cells` to the table `rejected_cells`, and return the waterfall with their number."""
    assert spec.table is not None
    if spec.table.reject is None:
        return waterfall
    records = Condition("table.reject.where", spec.table.reject.where).matching_records(loaded, spec.table)
    if not records:
        raise DataInvalid(
            f"table.reject: the condition `where` is true for no row of {loaded.raw.name}; correct the condition, or remove "
            "[table.reject]"
        )
    loaded.connection.register("matching_records", pd.DataFrame({"matching": records}))
    matching = f"FROM cells WHERE {RECORD} IN (SELECT matching FROM matching_records)"  # noqa: S608 - a constant
    loaded.connection.execute(f"CREATE TABLE rejected_cells AS {matching}")
    loaded.connection.execute(f"DELETE {matching}")
    return (*waterfall, ("left out: REJECTED_APPLICANT", -len(records)))


def _read_rejected(spec: Spec, table_spec: TableSpec, loaded: LoadedTable) -> pd.DataFrame | None:
    """Read the rejected applicants in the place of the accepted ones; return None if the spec has none."""
    if table_spec.reject is None:
        return None
    loaded.connection.execute("DROP TABLE cells; ALTER TABLE rejected_cells RENAME TO cells")
    unfair = spec.model_copy(update={"fairness": FairnessSpec()})  # protected attributes of these rows are not used
    cells, problems = _TableReader(unfair, table_spec, loaded).read(for_fit=True)
    _refuse([f"rejected applicants (table.reject): {problem}" for problem in problems])
    return cells


def _assemble_rejected(
    spec: Spec, cells: pd.DataFrame | None, levels: Mapping[str, tuple[str, ...]], small: Collection[str]
) -> pd.DataFrame | None:
    """Return the rows of the rejected applicants in the markets that are not too small."""
    if cells is None:
        return None
    rows = _assemble_rows(spec, cells)
    rows = rows.assign(**{name: _level_codes(cells[f"feature:{name}"], known) for name, known in levels.items()})
    return rows[~rows["market"].isin(small)].reset_index(drop=True)


def _drop_unlabelled(spec: TableSpec, loaded: LoadedTable, waterfall: Waterfall) -> Waterfall:
    """Delete the rows without an outcome, and return the waterfall with their number."""
    label = _label_cast(spec, loaded).value
    query = f"SELECT COUNT(*), COUNT({label}) FROM cells"  # noqa: S608 - quoted
    rows, known = (int(count) for count in loaded.connection.execute(query).fetchall()[0])
    if known == 0:
        raise DataInvalid(
            f"column {quote_name(spec.label.column)}: no row has an outcome, so no model can be fitted; to write features without "
            "outcomes, use `python -m training features`"
        )
    if known == rows:
        return waterfall
    loaded.connection.execute(f"DELETE FROM cells WHERE {label} IS NULL")  # noqa: S608 - quoted
    return (*waterfall, ("left out: NO_LABEL", known - rows))


def _label_cast(spec: TableSpec, loaded: LoadedTable) -> ColumnCast:
    """Return the cast of the label to text."""
    return text_cast(loaded.raw, spec.label.column, "table.label", (*spec.missing, *MISSING_MARKERS))


class _TableReader:
    """Reads every mapped column of a loaded table once."""

    def __init__(self, spec: Spec, table: TableSpec, loaded: LoadedTable) -> None:
        self._spec = spec
        self._table = table
        self._loaded = loaded
        self._unreadable: list[UnreadableValues] = []
        self._casts: dict[str, ColumnCast] = {}

    def read(self, *, for_fit: bool) -> tuple[pd.DataFrame, list[str]]:
        """Return the rows, and a sentence for each problem.

        The columns are market, customer_id, as_of, label, a column `feature:NAME` for each feature, and a column
        `attribute:COLUMN` for each protected attribute. Categories are text.
        """
        self._casts = dict(self._column_casts(for_fit=for_fit))
        constants = {"market": quote_literal(self._table.market or ""), "as_of": f"TIMESTAMP '{self._table.as_of}'"}
        values = {name: sql for name, sql in constants.items() if name not in self._casts}
        values |= {name: cast.value for name, cast in self._casts.items()}
        # DuckDB ignores the case of names, so the names that differ only in case are set afterwards.
        select = ", ".join(f"{sql} AS value_{number}" for number, sql in enumerate(values.values()))
        cells = self._loaded.connection.execute(f"SELECT {select} FROM cells ORDER BY {RECORD}").df()  # noqa: S608 - quoted
        cells.columns = pd.Index(list(values))
        self._unreadable = find_unreadable(self._loaded.connection, self._loaded.raw, self._casts.values(), RECORD)
        strict = self._table.model_copy(update={"max_unreadable_share": 0.0})
        keys = {id(self._casts[key]) for key in _KEY_USES if key in self._casts}
        for_keys = [one for one in self._unreadable if id(one.cast) in keys]
        others = [one for one in self._unreadable if id(one.cast) not in keys]
        raw, rows = self._loaded.raw, len(cells)
        problems = unreadable_sentences(raw, strict, for_keys, rows)
        problems += [] if problems else key_problems(self._table, cells, self._place)
        problems += self._weight_problems(cells)
        order = {id(cast): position for position, cast in enumerate(self._casts.values())}
        found = [
            (order[id(one.cast)], text)
            for one in others
            for text in unreadable_sentences(raw, self._table, [one], rows)
        ]
        own = (*self._range_problems(cells), *self._level_problems(cells), *self._null_problems(cells))
        found += [(order[id(self._casts[name])], text) for name, text in own]
        return cells, [*problems, *(text for _, text in sorted(found))]

    def _column_casts(self, *, for_fit: bool) -> Iterator[tuple[str, ColumnCast]]:
        """Yield the cast of every mapped column with the name of its values, e.g. "feature:age"."""
        raw, table = self._loaded.raw, self._table
        market = quote_literal(table.market or "")
        if table.market_column is not None:
            cast = key_cast(raw, table.market_column, "table.market_column", "market")
            market = cast.value
            yield "market", cast
        yield "customer_id", key_cast(raw, table.customer_id, "table.customer_id", "customer", table.missing)
        if table.as_of_column is not None:
            yield "as_of", time_cast(raw, table.as_of_column, "table.as_of_column", table, market, table.missing)
        if for_fit:
            yield "label", _label_cast(table, self._loaded)
        if for_fit and table.weight is not None:
            yield "weight", number_cast(raw, table.weight, "table.weight", table.missing)
        for feature in self._spec.features:
            missing = (*table.missing, *feature.missing)
            field, column = f"features.{feature.name}", _column_name(feature)
            if feature.kind == "number":
                yield f"feature:{feature.name}", number_cast(raw, column, field, missing)
            else:
                yield f"feature:{feature.name}", text_cast(raw, column, field, [_text_marker(one) for one in missing])
        for attribute in self._spec.fairness.attributes if for_fit else ():
            make = number_cast if attribute.bands else text_cast
            field = f"fairness.attributes.{attribute.column}"
            yield f"attribute:{attribute.column}", make(raw, attribute.column, field, table.missing)

    def _range_problems(self, cells: pd.DataFrame) -> Iterator[tuple[str, str]]:
        """Yield (name of the values, sentence) for each feature with values outside its range."""
        for feature in self._spec.features:
            if feature.kind != "number":
                continue
            values = cells[f"feature:{feature.name}"].to_numpy(dtype=np.float64, na_value=np.nan)
            low = -np.inf if feature.min is None else feature.min
            high = np.inf if feature.max is None else feature.max
            outside = np.flatnonzero((values < low) | (values > high))
            if len(outside):
                yield (
                    f"feature:{feature.name}",
                    (
                        f"column {quote_name(_column_name(feature))}: every value must be from {low:g} to {high:g} (min and max of the "
                        f"feature), got {len(outside):,} other values, first {values[outside[0]]:g} in "
                        f"{self._place(int(outside[0]))}; correct the values, or the range in the spec, or set missing = "
                        f"[{values[outside[0]]:g}] in the feature if it is a code for a missing value"
                    ),
                )

    def _level_problems(self, cells: pd.DataFrame) -> Iterator[tuple[str, str]]:
        """Yield (name of the values, sentence) for each category with a level that no request can contain."""
        for feature in self._spec.features:
            if feature.kind != "category":
                continue
            column = cells[f"feature:{feature.name}"]
            hidden = {level: found for level in column.dropna().unique() if (found := hidden_characters(level))}
            if hidden:
                rows = np.flatnonzero(column.isin(hidden))
                first = column.iloc[rows[0]]
                yield (
                    f"feature:{feature.name}",
                    (
                        f"column {quote_name(_column_name(feature))}: {len(rows):,} values have control or invisible characters "
                        f"({', '.join(hidden[first])}), first {first[:_EXAMPLE_CHARACTERS]!r} in {self._place(int(rows[0]))}; "
                        "remove these characters"
                    ),
                )

    def _null_problems(self, cells: pd.DataFrame) -> Iterator[tuple[str, str]]:
        """Yield (name of the values, sentence) for each category with a level by which a program marks a missing value."""
        for feature in self._spec.features:
            name = f"feature:{feature.name}"
            if feature.kind != "category" or not len(rows := np.flatnonzero(cells[name].isin(_NULL_LEVELS))):
                continue
            level = str(cells[name].iloc[rows[0]])
            yield (
                name,
                (
                    f"column {quote_name(_column_name(feature))}: {len(rows):,} values usually stand for a missing value, first {level!r} in "
                    f"{self._place(int(rows[0]))}; set missing = [{toml_text(level)}] in [table], or write another word"
                ),
            )

    def problems_of_unknown_categories(self, cells: pd.DataFrame) -> list[str]:
        """Return a sentence for each category whose spec lists levels of which no value is one."""
        problems = []
        for feature in self._spec.features:
            unknown = self._unknown_values(feature, cells)
            if not len(unknown) or len(unknown) < cells[f"feature:{feature.name}"].count():
                continue
            shown, found = (
                ", ".join(shorten_list([toml_text(value) for value in values], _LEVELS_SHOWN, ""))
                for values in (feature.levels or (), _levels(unknown))
            )
            problems.append(
                f"column {quote_name(_column_name(feature))}: none of its {len(unknown):,} values is one of the levels of the feature "
                f"{feature.name}, first {unknown.iloc[0][:_EXAMPLE_CHARACTERS]!r} in {self._place(unknown.index[0])}; the levels are "
                f"{shown}; correct the values, for example with an SQL expression such as column = 'lower(name)', or, if the model "
                f"is not fitted elsewhere, set levels = [{found}] in the feature"
            )
        return problems

    @staticmethod
    def _unknown_values(feature: FeatureEntry, cells: pd.DataFrame) -> pd.Series:
        """Return the values of a category that are not among its levels in the spec, by position of the row."""
        if feature.levels is None:
            return pd.Series(dtype=object)
        column = cells[f"feature:{feature.name}"]
        return column[_level_codes(column, feature.levels) == UNSEEN]

    def _weight_problems(self, cells: pd.DataFrame) -> list[str]:
        """Return a sentence if a weight is missing or not above 0."""
        if "weight" not in cells.columns:
            return []
        invalid = np.flatnonzero(~(cells["weight"].to_numpy(dtype=np.float64, na_value=np.nan) > 0))
        if not len(invalid):
            return []
        sentence = (
            f"column {quote_name(str(self._table.weight))} (table.weight): every weight must be above 0, got {len(invalid):,} rows with a "
            f"missing or other weight, first in {self._place(int(invalid[0]))}; correct these rows, or exclude them with "
            "[[table.exclude]]"
        )
        return [sentence]

    def _place(self, position: int) -> str:
        """Return the place in the file of the row at a position of the rows that are left."""
        query = f"SELECT {RECORD} FROM cells ORDER BY {RECORD} LIMIT 1 OFFSET {position}"  # noqa: S608 - an integer
        record = int(self._loaded.connection.execute(query).fetchall()[0][0])
        return f"{self._loaded.raw.places([record])[0]} of {self._loaded.raw.name}"

    def summary(
        self, cells: pd.DataFrame, label_use: str, left_out: Sequence[ColumnSummary]
    ) -> tuple[ColumnSummary, ...]:
        """Return a line for every column, in the order of the table."""
        lines: dict[str, list[ColumnSummary]] = {}
        features = {f"feature:{feature.name}": feature for feature in self._spec.features}
        for name, cast in self._casts.items():
            use = _KEY_USES.get(name) or ("label" if name == "label" else self._use(name))
            details = [label_use] if name == "label" else []
            if missing := int(cells[name].isna().sum()):
                details.append(f"{missing:,} missing")
            details += [*self._changes(cast), *([cast.column.note] if cast.column.note else [])]
            odd = next((one for one in self._unreadable if one.cast is cast), None)
            first_odd = f"{odd.example!r} in {odd.place}" if odd else ""
            details += [f"{odd.count:,} unreadable, used as missing"] if odd else []
            unknown = self._unknown_values(features[name], cells) if name in features else None
            if unknown is not None and len(unknown):
                names = ", ".join(shorten_list([repr(level) for level in _levels(unknown)], _LEVELS_SHOWN, ""))
                details.append(f"{len(unknown):,} not among the levels of the model: {names}")
                first_odd = first_odd or f"{unknown.iloc[0]!r} in {self._place(unknown.index[0])}"
            line = ColumnSummary(cast.column.name, use, "; ".join(details), first_odd)
            lines.setdefault(cast.column.name, []).append(line)
        for line in left_out:
            lines.setdefault(line.column, []).append(line)
        computed, conditions = input_columns(self._loaded.raw), _condition_fields(self._table)
        return tuple(
            _with_conditions(line, conditions.get(column.name, ()))
            for column in self._loaded.raw.columns
            for line in lines.get(column.name or "(no name)") or [_other_column(column.name, computed)]
        )

    def _use(self, name: str) -> str:
        """Return for what training uses the values that have the given name, such as "feature:age"."""
        kind, _, rest = name.partition(":")
        if kind != "feature":
            return "protected attribute"
        feature = next(one for one in self._spec.features if one.name == rest)
        what = "feature" if feature.kind == "number" else "category"
        return what if rest == _column_name(feature) else f"{what} {rest}"

    def _changes(self, cast: ColumnCast) -> list[str]:
        """Return how the values of a column were changed when they were read."""
        if not cast.column.is_text or cast.kind not in {"customer", "market", "text"}:
            return []
        query = f"SELECT COUNT(*) FILTER ({cast.padding}), COUNT(*) FILTER ({cast.respelling}) FROM cells"  # noqa: S608 - quoted
        padded, respelt = self._loaded.connection.execute(query).fetchall()[0]
        details = [f"{padded:,} without the spaces around them"] if padded else []
        return [*details, f"{respelt:,} in another spelling of the same text"] if respelt else details


def _other_column(name: str, computed: set[str]) -> ColumnSummary:
    """Return what training does with a column to which no field of the spec refers directly."""
    if name in computed:
        return ColumnSummary(name, "part of a computed column")
    return ColumnSummary(name or "(no name)", "left out", "not listed in the spec")


def _condition_fields(table: TableSpec) -> dict[str, list[str]]:
    """Return the fields of the conditions that use each column, by column."""
    conditions = {f"table.exclude.{one.code}": one.where for one in table.exclude}
    conditions |= {"table.reject": table.reject.where} if table.reject else {}
    fields: dict[str, list[str]] = {}
    for name, where in conditions.items():
        for column in dict.fromkeys(names_in(where)):
            fields.setdefault(column, []).append(name)
    return fields


def _with_conditions(line: ColumnSummary, fields: Sequence[str]) -> ColumnSummary:
    """Return the line of a column that conditions use.

    A column that is no feature cannot leak into the model, but it can contain the outcome, and then select the rows by it.
    """
    if not fields:
        return line
    detail = f"selects rows in {', '.join(fields)}"
    if line.use != "left out":
        return replace(line, detail="; ".join([*([line.detail] if line.detail else []), detail]))
    return replace(line, use="condition", detail=f"{detail}; no feature, so not tested for target leakage")


def _text_marker(value: str | float) -> str:
    """Return a value of `missing` as the text of a level: 96 for 96.0."""
    return canonical_label(value)


def _refuse(problems: list[str]) -> None:
    """Raise DataInvalid with all problems, if there are any."""
    if problems:
        raise DataInvalid("\n".join(shorten_list(problems, _PROBLEMS_SHOWN, "")))


def _labels(spec: TableSpec, cells: pd.DataFrame) -> tuple[pd.Series | None, list[str], str]:
    """Return the label of every row, a list with at most one problem, and a sentence that states the bad value."""
    is_text = are_texts(spec.label, set(cells["label"]))
    labels = cells["label"].map(lambda value: canonical_label(value, is_text=is_text))
    try:
        bad, good = bad_and_good(spec.label, set(labels.unique()), is_text=is_text)
    except DataInvalid as error:
        return None, [str(error)], ""
    return (labels == bad).astype(np.int64), [], f"{bad} is bad, {good} is good"


def _assemble_rows(spec: Spec, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the keys, the sample and the numeric features of every row."""
    times = cells["as_of"].astype("datetime64[us]").dt.tz_localize("UTC")
    keys = {"market": cells["market"], "customer_id": cells["customer_id"], "as_of": times}
    numbers = {
        feature.name: cells[f"feature:{feature.name}"].astype(np.float64)
        for feature in spec.features
        if feature.kind == "number"
    }
    weights = {WEIGHT: cells["weight"].astype(np.float64)} if "weight" in cells.columns else {}
    parts = {"sample": _sample_parts(spec, pd.DataFrame(keys)), "period": ""}
    return pd.DataFrame(keys | weights | parts | numbers)


def _levels(column: pd.Series) -> tuple[str, ...]:
    """Return the distinct levels of a column, sorted as text."""
    return tuple(sorted(column.dropna().unique()))


def _level_codes(column: pd.Series, levels: tuple[str, ...]) -> pd.Series:
    """Return the code of every value: its position in `levels`, UNSEEN for an unknown level, NaN if missing."""
    codes = level_codes(levels)

    def code(level: str) -> float:
        # Earlier releases read a column of whole numbers with gaps as floats, and wrote their levels without ".0".
        return codes.get(level, codes.get(re.sub(r"^(-?\d+)\.0$", r"\1", level), UNSEEN))

    return column.map(code, na_action="ignore").astype(np.float64)


def _sample_parts(spec: Spec, rows: pd.DataFrame) -> list[Sample]:
    """Return the sample of every row.

    Without [out_of_time], the sample depends only on the customer. With [out_of_time], a late row is OUT_OF_TIME,
    unless an earlier row of the same customer is in the fit or calibration part. In this case the late row is NONE,
    because the model already knows the customer.
    """
    parts = [_customer_part(customer, spec.split) for customer in rows["customer_id"]]
    if spec.out_of_time is None:
        return parts
    late_rows = (rows["as_of"] >= pd.Timestamp(str(spec.out_of_time.first_day), tz="UTC")).tolist()
    customers = list(zip(rows["market"], rows["customer_id"], strict=True))
    known = {
        customer
        for customer, part, is_late in zip(customers, parts, late_rows, strict=True)
        if not is_late and part in ("FIT", "CALIBRATION")
    }
    late_samples: list[Sample] = ["NONE" if customer in known else "OUT_OF_TIME" for customer in customers]
    return [late if is_late else part for part, late, is_late in zip(parts, late_samples, late_rows, strict=True)]


def _customer_part(customer_id: str, split: HashSplit) -> Sample:
    """Return the sample of a customer, which depends only on the hash of the customer id."""
    bucket = hash_bucket(customer_id, split.buckets)
    if bucket in split.hold_out:
        return "HOLD_OUT"
    return "CALIBRATION" if bucket in split.calibration else "FIT"
