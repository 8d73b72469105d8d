"""The JSON documents of a bundle, field by field. models/README.md says what each file is for."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.identifiers import Code, Family, FeatureName, LocaleTag, Market, Sha256

FeatureSource = Literal["STORE", "CALLER", "EITHER"]
Cell = float | None  # None where missing

# Raised when the layout of a bundle changes; readers refuse what is newer. models/README.md says how.
FORMAT_VERSION = 1


class _BundleDocument(BaseModel):
    """A document: frozen, complete, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Manifest(_BundleDocument):
    """manifest.json: what the bundle is and the digest of every other file; its own digest is the bundle_id.

    Attributes:
        format: Layout of the bundle.
        family: The question that the model answers, e.g. "credit".
        markets: Where it may serve.
        files: SHA-256 by file name.
        made_from: Digests of spec and data, and versions of the libraries that made it; of a log also of the SQL that made
            its features, and whom and what its snapshots are about.
    """

    format: int
    family: Family
    markets: tuple[Market, ...] = Field(min_length=1)
    files: dict[str, Sha256]
    made_from: dict[str, str]


class FeatureSpec(_BundleDocument):
    """One feature: what may be sent, and what it means.

    Attributes:
        levels: Names of a category's levels; a level's place is its code in the model.
        unit: "" where it has none.
        min: Smallest value accepted; None means no bound.
        max: Largest value accepted; None means no bound.
        source: Who may give the value in a decision.
        mandatory: Without it the customer is not scorable.
        sign: 1: a higher value never lowers the risk; -1: never raises it; 0: no promise.
        group: Code of its reason group.
        texts: The feature as part of its group's sentence, by locale: {value} is the customer's value,
            {typical} the baseline's median; a CLDR number pattern may follow, as in {value:#,##0.0}, and
            words by CLDR's plural categories, as in {value:|one=day|other=days}.
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
    """A reason group: features whose pushes are told as one reason.

    Attributes:
        actionable: A customer can change these values; only then are changes of them proposed.
        texts: Sentence by locale; "en" is there always. {pushed} stands for the texts of the features
            that pushed most, {NAME} for the customer's value of a feature, {NAME.typical} for the
            baseline's median; pattern and words may follow as in a feature's.
    """

    code: Code
    actionable: bool = False
    texts: dict[LocaleTag, str]


class SchemaDocument(_BundleDocument):
    """schema.json: the features in the order in which the model takes them, and the reason groups."""

    features: tuple[FeatureSpec, ...] = Field(min_length=1)
    groups: tuple[GroupSpec, ...] = Field(min_length=1)


class Grade(_BundleDocument):
    """One grade of the master scale, named by a code that fits a record's header; max_pd is inclusive, 1 for the last."""

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
        master_scale_version: Raised when the grades change.
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
    """baseline.json: the frozen population that explanations compare with.

    Attributes:
        method: How contributions are computed. Path-dependent ones compare with the training rows by the
            covers of the splits, so there are no rows here.
        definition: Who they are, in words.
        rows: One list per customer, features in the order of the schema. Each value is one
            representative of its threshold interval: same decisions, so the same contributions.
        base_margin: Mean margin of the rows, before calibration.
        row_count: How many customers the population has.
        typical: Median of the true values by feature, of a category the most frequent level; None where
            most are missing.
    """

    method: Literal["interventional", "path_dependent"] = "interventional"
    definition: str = Field(min_length=1)
    rows: tuple[tuple[Cell, ...], ...]
    base_margin: float
    row_count: int = Field(ge=1)
    typical: dict[FeatureName, float | str | None]

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        """Refuse an interventional baseline without rows."""
        if self.method == "interventional" and not self.rows:
            raise ValueError("rows: an interventional baseline has at least one")
        return self


class GoldenRow(_BundleDocument):
    """A row and everything that must come out of it."""

    kind: Literal["ordinary", "threshold", "missing"]
    row: tuple[Cell, ...]
    margin: float
    contributions: tuple[float, ...]
    pd: float
    score: int
    points: tuple[int, ...]
    grade: str


class ExaminedRowsDocument(_BundleDocument):
    """One kind of row that the release gate examined; see training.equivalence."""

    kind: str
    rows: int
    rows_sha256: Sha256
    contribution_distance: float
    residual: float


class GateDocument(_BundleDocument):
    """gate.json: the verdict of the release gate, kind of row by kind of row."""

    method: Literal["interventional", "path_dependent"]
    base_margin: float
    kinds: tuple[ExaminedRowsDocument, ...] = Field(min_length=1)


class GoldenDocument(_BundleDocument):
    """golden.json: rows that every reader of the bundle reproduces before it serves."""

    rows: tuple[GoldenRow, ...] = Field(min_length=1)


class MetricsDocument(_BundleDocument):
    """metrics.json: what training measured, by name, e.g. "hold_out.auc"."""

    metrics: dict[str, float]
