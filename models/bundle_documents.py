"""The JSON documents of a bundle: a class for each file and for its parts. models/README.md describes each file.

Field names are JSON keys: renaming one changes the format.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from models.identifiers import Code, Family, FeatureName, LocaleTag, Market, Sha256

FeatureSource = Literal["STORE", "CALLER", "EITHER"]
Cell = float | None  # one value of a row; None if the value is missing

Count = Annotated[int, Field(ge=0, le=2**53)]  # a number of customers, which a double represents exactly

# Version of a bundle's layout. Increase it when the layout changes; models/README.md describes how. Readers reject
# newer formats.
FORMAT_VERSION = 2


class _BundleDocument(BaseModel):
    """Base class of the documents, which are immutable and reject unknown fields and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Manifest(_BundleDocument):
    """manifest.json: describes the bundle and has the digest of every other file. Its own digest is the bundle_id.

    Attributes:
        format: Version of the layout; the first version is 1. Format 2 adds population.json.
        family: Name of the model family, e.g. "credit". All models of a family answer the same question.
        markets: The countries for which the bundle may be activated.
        files: SHA-256 of every other file, by name.
        made_from: Digests of the spec and the data, and versions of the libraries used in training. If the features
            come from a transaction log, `made_from` also has the digest of the SQL that computes the features, and the
            customers and times of the snapshots.
    """

    format: int = Field(ge=1, strict=True)
    family: Family
    markets: tuple[Market, ...] = Field(min_length=1)
    files: dict[str, Sha256]
    made_from: dict[str, str]

    @model_validator(mode="after")
    def _check_markets(self) -> Self:
        """Reject a market that is listed twice."""
        if len(set(self.markets)) != len(self.markets):
            raise ValueError("markets: must not list a market twice")
        return self


class FeatureSpec(_BundleDocument):
    """One feature: its meaning and the values it accepts.

    Attributes:
        description: What the value means, in a few words.
        kind: "number", or "category" if the values are names of levels.
        levels: Names of a category's levels; the index of a level is its code in the model.
        missing: Values that stand for a missing value, such as the special codes 96 and 98 of a count. An input with
            such a value is treated as missing. The key is absent from the file if no value stands for a missing value.
        unit: Unit of the value; "" if the value has no unit.
        min: Smallest accepted value; None if there is no lower bound.
        max: Largest accepted value; None if there is no upper bound.
        source: Who supplies the value in a decision: the feature store, the caller, or either.
        mandatory: True if a customer without this value cannot be scored.
        sign: The monotone constraint: 1 if a higher value never lowers the risk, -1 if a higher value never raises the
            risk, 0 if neither is guaranteed.
        group: Code of the reason group to which the feature belongs.
        texts: The part of the group's sentence that describes this feature, by locale. {value} is the customer's value,
            and {typical} is the baseline's median. After a colon, a placeholder may have a CLDR number pattern, as in
            {value:#,##0.0}, and one word for each CLDR plural category, as in {value:|one=day|other=days}.
        names: Names of the value by locale, for notices to the person concerned. Notices in English use `description`
            and `unit` instead. If there are no names, the file does not contain this key.
    """

    name: FeatureName
    description: str = Field(min_length=1)
    kind: Literal["number", "category"] = "number"
    levels: tuple[str, ...] = ()
    missing: tuple[float | str, ...] = ()
    unit: str = ""
    min: float | None = None
    max: float | None = None
    source: FeatureSource = "STORE"
    mandatory: bool = False
    sign: Literal[-1, 0, 1] = 0
    group: Code
    texts: dict[LocaleTag, str] = {}
    names: dict[LocaleTag, str] = {}

    @model_serializer(mode="wrap")
    def _omit_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit `missing` and `names` if they are empty, so that readers of earlier releases accept the file."""
        content: dict[str, Any] = serialize(self)
        for name in ("missing", "names"):
            if not content.get(name):
                content.pop(name, None)
        return content

    def name_in(self, locale: str) -> str:
        """Return the name of the value in a locale; without one, the English description and the unit."""
        own = self.names.get(locale)
        return own if own is not None else f"{self.description}, {self.unit}" if self.unit else self.description


class GroupSpec(_BundleDocument):
    """A reason group: features whose contributions are stated as one reason.

    Attributes:
        code: The reason code.
        actionable: Whether a customer can change these values. Recourse proposes changes of actionable groups only.
        texts: The group's sentence by locale; "en" is required. {pushed} stands for the texts of the features with the
            largest contributions. {NAME} stands for the customer's value of the feature NAME, and {NAME.typical} for
            the baseline's median. {NAME} and {NAME.typical} may have a number pattern and plural words, as in a
            feature's text.
    """

    code: Code
    actionable: bool = False
    texts: dict[LocaleTag, str]


class SchemaDocument(_BundleDocument):
    """schema.json: the features in the order of the model's columns, and the reason groups.

    Attributes:
        features: The features.
        groups: The reason groups.
        reason_rules: The rules of `models.stated_reasons`; 1 in bundles of earlier releases. The file does not contain 1, so
            that it stays as it was.
    """

    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    groups: tuple[GroupSpec, ...] = Field(min_length=1)
    reason_rules: Literal[1, 2] = 1

    @model_serializer(mode="wrap")
    def _omit_first_rules(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit `reason_rules` if they are the first ones."""
        content: dict[str, Any] = serialize(self)
        if self.reason_rules == 1:
            content.pop("reason_rules", None)
        return content


class Grade(_BundleDocument):
    """One grade of the master scale.

    Attributes:
        grade: A code that is also valid as a label in a record's header.
        max_pd: Largest probability of default (pd) of the grade, inclusive; 1 for the last grade.
    """

    grade: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,15}$")
    max_pd: float = Field(gt=0, le=1)


class Scorecard(_BundleDocument):
    """scorecard.json: the numbers that turn a margin into log-odds, points and a grade.

    Attributes:
        slope: The factor of log_odds = slope * margin + intercept; above 0.
        intercept: The constant term of the same equation.
        base_score: Points of a customer whose odds are base_odds.
        base_odds: Odds of good to bad, e.g. 50 for 50:1.
        pdo: The number of points by which the score rises when the odds double (points to double the odds).
        master_scale_version: Name of this version of the grades; it changes whenever the grades change.
        grades: The grades, safest first.
    """

    slope: float = Field(gt=0)
    intercept: float
    base_score: int
    base_odds: float = Field(gt=0)
    pdo: float = Field(gt=0)
    master_scale_version: str = Field(default="default-1", min_length=1)
    grades: tuple[Grade, ...] = Field(min_length=1)


class BaselineDocument(_BundleDocument):
    """baseline.json: the frozen population with which explanations compare a customer (the SHAP background).

    Attributes:
        method: How contributions are computed. Path-dependent SHAP uses the number of training rows in each node of the
            trees instead of baseline rows, so `rows` is empty.
        definition: A description of the population.
        rows: One list per customer, with the features in the order of the schema. Each value is replaced by one
            representative of its threshold interval. The trees treat a value and its representative alike, so the
            contributions are the same.
        base_margin: Mean margin of the rows, before calibration.
        row_count: Size of the population.
        typical: Median of the original values by feature, or the most frequent level of a category; None if most values
            are missing.
    """

    method: Literal["interventional", "path_dependent"] = "interventional"
    definition: str = Field(min_length=1)
    rows: tuple[tuple[Cell, ...], ...]
    base_margin: float
    row_count: int = Field(ge=1)
    typical: dict[FeatureName, float | str | None]

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        """Reject an interventional baseline without rows."""
        if self.method == "interventional" and not self.rows:
            raise ValueError("rows: an interventional baseline needs at least one row")
        return self


class BinnedValues(_BundleDocument):
    """How often values of a number occur in each of several intervals.

    Attributes:
        edges: The inner limits of the intervals, ascending. An interval contains its upper limit.
        counts: The number of values in each interval; one more than `edges`.
    """

    edges: tuple[float, ...]
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _check_intervals(self) -> Self:
        """Reject edges that do not ascend, and a number of counts that does not match."""
        if any(one >= other for one, other in pairwise(self.edges)):
            raise ValueError("edges: must ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("counts: must have one count for each interval")
        return self


class FeaturePopulation(_BundleDocument):
    """The values of one feature in a population.

    Attributes:
        missing: The number of rows without a value.
        min: A number at or below the smallest value; None for a category, and if no row has a value.
        max: A number at or above the largest value; None in the same cases.
        bins: The distribution of a number; None in the same cases.
        levels: The number of rows of each level of a category; empty for a number.
    """

    missing: Count
    min: float | None = None
    max: float | None = None
    bins: BinnedValues | None = None
    levels: dict[str, Count] = {}

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        """Reject a range without a distribution, or one whose ends are exchanged."""
        if len({self.min is None, self.max is None, self.bins is None}) != 1:
            raise ValueError("min, max and bins: must all be present, or all be absent")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min: must not be above max")
        return self

    def row_count(self) -> int:
        """Return the number of rows that are counted here."""
        return self.missing + sum(self.bins.counts if self.bins is not None else self.levels.values())


class PopulationDocument(_BundleDocument):
    """population.json: the customers that training used, as ranges and counts, with which later customers are compared.

    The ends of a range are rounded outward and the limits of intervals up, because each may be the value of a single customer:
    to two significant digits, or to more where these would move many rows to another interval, or an end far outward.

    Attributes:
        rows: The number of rows of the fit part.
        features: The values in the fit part, by feature.
        log_odds: The distribution of the calibrated log-odds in the calibration part, which the model was not fitted on.
    """

    rows: Annotated[Count, Field(ge=1)]
    features: dict[FeatureName, FeaturePopulation]
    log_odds: BinnedValues

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        """Reject a feature whose counts contradict the number of rows. Rows of unnamed levels are not counted."""
        for name, each in self.features.items():
            counted = each.row_count()
            if counted > self.rows or (not each.levels and counted < self.rows):
                raise ValueError(f"features.{name}: counts {counted} rows, but the population has {self.rows}")
        return self


class GoldenRow(_BundleDocument):
    """A row and the exact results that the model must reproduce for it."""

    kind: Literal["ordinary", "threshold", "missing"]
    row: tuple[Cell, ...]
    margin: float
    contributions: tuple[float, ...]
    pd: float
    score: int
    points: tuple[int, ...]
    grade: str


class ExaminedRowsDocument(_BundleDocument):
    """One kind of row that the release gate compared; see training.equivalence.

    Attributes:
        kind: The kind of row, such as "data", "threshold" or "missing".
        rows: How many rows of this kind were compared.
        rows_sha256: SHA-256 of the rows, written row by row as little-endian doubles.
        contribution_distance: Largest difference between a contribution and its Shapley value by definition, in
            log-odds.
        residual: Largest difference between the margin and the base margin plus all contributions, in log-odds.
        explained_rows: How many of the rows had their contributions compared, for a model so large that these rows are a
            sample; None if all of them had.
    """

    kind: str
    rows: int
    rows_sha256: Sha256
    contribution_distance: float
    residual: float
    explained_rows: int | None = None


class GateDocument(_BundleDocument):
    """gate.json: the results of the release gate, one entry per kind of row."""

    method: Literal["interventional", "path_dependent"]
    base_margin: float
    kinds: tuple[ExaminedRowsDocument, ...] = Field(min_length=1)


class GoldenDocument(_BundleDocument):
    """golden.json: rows that a reader of the bundle must reproduce before it serves."""

    rows: tuple[GoldenRow, ...] = Field(min_length=1)


class MetricsDocument(_BundleDocument):
    """metrics.json: measurements of training by name, e.g. "hold_out.auc"."""

    metrics: dict[str, float]
