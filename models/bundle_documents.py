"""The JSON documents of a bundle, one class a file. models/README.md describes what each file is for.

Field names are JSON keys: renaming one changes the format.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.identifiers import Code, Family, FeatureName, LocaleTag, Market, Sha256

FeatureSource = Literal["STORE", "CALLER", "EITHER"]
Cell = float | None  # None where missing

# Increased when the layout of a bundle changes; readers reject newer formats. models/README.md describes how.
FORMAT_VERSION = 1


class _BundleDocument(BaseModel):
    """Base class: frozen; missing, unknown and non-finite values are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Manifest(_BundleDocument):
    """manifest.json: what the bundle is, and the digest of every other file. Its own digest is the bundle_id.

    Attributes:
        format: Version of the layout, from 1.
        family: The question that the model answers, e.g. "credit".
        markets: Where it may be activated.
        files: SHA-256 by file name.
        made_from: Digests of spec and data, and versions of the libraries used in training. If the features come from a
            transaction log, also the digest of their SQL, and the customers and times of the snapshots.
    """

    format: int
    family: Family
    markets: tuple[Market, ...] = Field(min_length=1)
    files: dict[str, Sha256]
    made_from: dict[str, str]


class FeatureSpec(_BundleDocument):
    """One feature: its meaning and the values it accepts.

    Attributes:
        description: What the value means, in a few words.
        kind: "category" if values are names of levels.
        levels: Names of a category's levels; the index of a level is its code in the model.
        unit: "" for none.
        min: Smallest value accepted; None for no bound.
        max: Largest value accepted; None for no bound.
        source: Who supplies the value in a decision: the feature store, the caller, or either.
        mandatory: If missing, the customer cannot be scored.
        sign: 1 if a higher value never lowers the risk, -1 if it never raises the risk, 0 if neither is guaranteed.
        group: Code of its reason group.
        texts: The feature as part of its group's sentence, by locale. {value} is the customer's value and {typical} the
            baseline's median; a CLDR number pattern may follow, as in {value:#,##0.0}, and words by CLDR plural
            category, as in {value:|one=day|other=days}.
    """

    name: FeatureName
    description: str = Field(min_length=1)
    kind: Literal["number", "category"] = "number"
    levels: tuple[str, ...] = ()
    unit: str = ""
    min: float | None = None
    max: float | None = None
    source: FeatureSource = "STORE"
    mandatory: bool = False
    sign: Literal[-1, 0, 1] = 0
    group: Code
    texts: dict[LocaleTag, str] = {}


class GroupSpec(_BundleDocument):
    """A reason group: features whose contributions are stated as one reason.

    Attributes:
        code: The reason code.
        actionable: A customer can change these values. Recourse proposes changes of actionable groups only.
        texts: Sentence by locale; "en" is required. {pushed} stands for the texts of the features with the largest
            contributions, {NAME} for the customer's value of a feature, {NAME.typical} for the baseline's median;
            pattern and words may follow as in a feature's text.
    """

    code: Code
    actionable: bool = False
    texts: dict[LocaleTag, str]


class SchemaDocument(_BundleDocument):
    """schema.json: the features in the order of the model's columns, and the reason groups."""

    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    groups: tuple[GroupSpec, ...] = Field(min_length=1)


class Grade(_BundleDocument):
    """One grade of the master scale.

    Attributes:
        grade: A code that is also valid as a label in a record's header.
        max_pd: Largest pd of the grade, inclusive; 1 for the last one.
    """

    grade: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,15}$")
    max_pd: float = Field(gt=0, le=1)


class Scorecard(_BundleDocument):
    """scorecard.json: from margin to log-odds, points and grade.

    Attributes:
        slope: a in log_odds = a * margin + b; above 0.
        intercept: b.
        base_score: Points at base_odds.
        base_odds: Good to bad, e.g. 50 for 50:1.
        pdo: Points that double the odds.
        master_scale_version: Changes whenever the grades change.
        grades: Safest first.
    """

    slope: float = Field(gt=0)
    intercept: float
    base_score: int
    base_odds: float = Field(gt=0)
    pdo: float = Field(gt=0)
    master_scale_version: str = Field(default="default-1", min_length=1)
    grades: tuple[Grade, ...] = Field(min_length=1)


class BaselineDocument(_BundleDocument):
    """baseline.json: the frozen population that explanations compare with (SHAP: background).

    Attributes:
        method: How contributions are computed. Path-dependent SHAP compares with the training rows through the covers
            of the splits, so `rows` is empty then.
        definition: The population, in words.
        rows: One list a customer, features in the order of the schema. Each value is replaced by one representative
            of its threshold interval: the trees decide the same, so the contributions are the same.
        base_margin: Mean margin of the rows, before calibration.
        row_count: Size of the population.
        typical: Median of the true values by feature, the most frequent level for a category; None if most values are
            missing.
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
        kind: Such as "data", "threshold" or "missing".
        rows: How many.
        rows_sha256: Digest of the rows' bytes: doubles, little-endian, row by row.
        contribution_distance: Largest difference from a contribution by definition, in log-odds.
        residual: Largest difference of base plus contributions from the margin, in log-odds.
    """

    kind: str
    rows: int
    rows_sha256: Sha256
    contribution_distance: float
    residual: float


class GateDocument(_BundleDocument):
    """gate.json: the results of the release gate, one entry a kind of row."""

    method: Literal["interventional", "path_dependent"]
    base_margin: float
    kinds: tuple[ExaminedRowsDocument, ...] = Field(min_length=1)


class GoldenDocument(_BundleDocument):
    """golden.json: rows that a reader of the bundle must reproduce before it serves."""

    rows: tuple[GoldenRow, ...] = Field(min_length=1)


class MetricsDocument(_BundleDocument):
    """metrics.json: measurements of training by name, e.g. "hold_out.auc"."""

    metrics: dict[str, float]
