"""Reads a run file, and checks that its rows agree with each other and with its manifest.

The checks find a file that was changed by hand. They cannot find a change that is consistent in every column; for that, the
server refuses to load a run again from a file with other bytes.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.field_problems import field_path, field_problems
from models.scorecard import pd_from_log_odds
from models.tolerances import LOG_ODDS_TOLERANCE, PD_TOLERANCE
from training.errors import DataInvalid
from training.scoring.campaign import in_hold_out
from training.scoring.run_columns import SCORED
from training.spec import CampaignSpec

_FORMAT = 2
_BATCH_ROWS = 20_000
_COLUMNS = [
    *("market", "customer_id", "as_of", "status", "log_odds", "pd", "band", "rank", "value_at_risk_minor"),
    *("expected_spend_minor", "hold_out", "suppressions", "features", "contributions"),
]
# Amounts of a run are rounded to minor units, so that the value at risk is only near pd * expected spend.
_MINOR_UNITS_TOLERANCE = 1.5
_GAP_MEDIAN = "gap_median_days"
CustomerKey = tuple[str, str]  # (market, customer)


class RunBand(BaseModel):
    """A band of a run, and the largest pd in it."""

    band: str = Field(min_length=1)
    max_pd: float = Field(gt=0, le=1)


class RunFileManifest(BaseModel):
    """The keys of a run file's manifest that its results need; training.scoring.scoring_run writes them."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    family: str
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    bundle_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    feature_names: list[str] = Field(min_length=1)
    base_value: float
    bands: list[RunBand] = Field(min_length=1)
    horizon_days: int = Field(ge=1)
    currency: str
    currencies: dict[str, str] = {}
    campaign: str = ""
    hold_out_share: float = Field(default=0.0, ge=0, lt=1)
    counts: dict[str, int]
    hold_out_count: int = Field(ge=0)
    suppressed_count: int = Field(ge=0)
    key_account_count: int = Field(default=0, ge=0)
    key_accounts_sha256: str = ""
    spec_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RunFile:
    """A run file that passed its checks.

    Attributes:
        path: The file.
        sha256: SHA-256 of the file.
        manifest: The manifest of the run.
        as_of: The as-of day of the run, which is the first day of the horizon.
        rows: One row for each customer of the run: market, customer_id, status, pd, band, value_at_risk_minor,
            expected_spend_minor, hold_out, is_suppressed and gap_median_days, which is NaN if the model does not use it.
    """

    path: Path
    sha256: str
    manifest: RunFileManifest
    as_of: dt.date
    rows: pd.DataFrame

    @property
    def end(self) -> dt.date:
        """Return the first day after the horizon."""
        return self.as_of + dt.timedelta(days=self.manifest.horizon_days)

    @property
    def markets(self) -> list[str]:
        """Return the markets of the run, sorted."""
        return sorted(self.rows["market"].unique())


def read_run_file(path: Path) -> RunFile:
    """Read a run file, and check every row.

    Raises:
        DataInvalid: The file is no run file, is damaged, or its rows contradict each other or the manifest.
    """
    try:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        with pq.ParquetFile(path) as file:
            manifest = _read_manifest(path, file.schema_arrow)
            batches = list(_checked_batches(path, file, manifest))
    except (OSError, pa.ArrowException) as error:
        raise DataInvalid(f"{path}: cannot be read as a run file: {error}; check the path") from error
    if not batches:
        raise DataInvalid(f"{path}: has no customers; name a run file with at least one customer")
    rows = pd.concat(batches, ignore_index=True)
    _check_counts(path, manifest, rows)
    days = rows["as_of"].unique()
    as_of = pd.Timestamp(days[0])
    if len(days) != 1 or as_of != as_of.normalize():
        raise _change_error(path, f"column 'as_of': must be the same day in every row, found {len(days)} values")
    _check_ranks(path, rows)
    return RunFile(path, sha256, manifest, as_of.date(), rows.drop(columns=["as_of", "rank"]))


def _read_manifest(path: Path, schema: pa.Schema) -> RunFileManifest:
    """Read the manifest of a run file."""
    try:
        manifest = json.loads((schema.metadata or {}).get(b"grounds", b"{}"))
    except ValueError as error:
        raise DataInvalid(f"{path}: the manifest is not JSON: {error}; restore the file") from error
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    if kind != "run":
        raise DataInvalid(f"{path}: is not a run file; name files that `python -m training score` wrote")
    if manifest.get("format") != _FORMAT:
        raise DataInvalid(
            f"{path}: run format {manifest.get('format')} is unsupported, this release reads format {_FORMAT}; use the release that "
            "wrote the file"
        )
    if missing := [name for name in _COLUMNS if name not in schema.names]:
        raise DataInvalid(f"{path}: lacks the columns {', '.join(missing)}; restore the file")
    try:
        return RunFileManifest.model_validate(manifest)
    except ValidationError as error:
        problems = [f"{field_path(field)}: {problem}" for field, problem in field_problems(error)]
        raise DataInvalid(f"{path}: manifest: {'; '.join(problems)}; restore the file") from error


def _checked_batches(path: Path, file: pq.ParquetFile, manifest: RunFileManifest) -> Iterator[pd.DataFrame]:
    """Yield the rows in batches, checked, with the columns that the results need."""
    width = len(manifest.feature_names)
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=_COLUMNS):
        contributions = _list_matrix(path, batch, "contributions", width)
        features = _list_matrix(path, batch, "features", width)
        rows = batch.drop_columns(["features", "contributions", "suppressions"]).to_pandas()
        rows["is_suppressed"] = [bool(codes) for codes in batch["suppressions"].to_pylist()]
        rows["gap_median_days"] = (
            features[:, manifest.feature_names.index(_GAP_MEDIAN)] if _GAP_MEDIAN in manifest.feature_names else np.nan
        )
        for name in ("market", "customer_id", "as_of", "status", "hold_out"):
            if rows[name].isna().any():
                raise _change_error(path, f"column {name!r}: must have no missing values")
        _check_predictions(path, manifest, rows, contributions)
        yield rows.drop(columns="log_odds")


def _list_matrix(path: Path, batch: pa.RecordBatch, name: str, width: int) -> NDArray[np.float64]:
    """Return a column of lists as a matrix of shape (n, width); a row without values is NaN."""
    lists = batch[name].to_pylist()
    if any(values is None or len(values) not in (0, width) for values in lists):
        raise _change_error(
            path, f"column {name!r}: must have {width} values, or none for a customer who is not scored"
        )
    return np.array([values or [None] * width for values in lists], dtype=np.float64).reshape(-1, width)


def _check_predictions(
    path: Path, manifest: RunFileManifest, rows: pd.DataFrame, contributions: NDArray[np.float64]
) -> None:
    """Raise DataInvalid unless pd, band and value at risk follow from the contributions and the expected spend."""
    is_scored = (rows["status"] == SCORED).to_numpy()
    names = ["log_odds", "pd", "band", "rank", "value_at_risk_minor", "expected_spend_minor"]
    if rows.loc[is_scored, names].isna().to_numpy().any() or rows.loc[~is_scored, names].notna().to_numpy().any():
        raise _change_error(path, "exactly the customers with the status SCORED must have a prediction")
    scored = rows[is_scored]
    log_odds, pds = (scored[name].to_numpy(dtype=np.float64) for name in ("log_odds", "pd"))
    if not (np.abs(contributions[is_scored].sum(axis=1) + manifest.base_value - log_odds) <= LOG_ODDS_TOLERANCE).all():
        raise _change_error(path, "column 'log_odds': must be the base value plus the contributions")
    if not (np.abs([pd_from_log_odds(value) for value in log_odds.tolist()] - pds) <= PD_TOLERANCE).all():
        raise _change_error(path, "column 'pd': must be 1 / (1 + exp(-log_odds))")
    bounds = [each.max_pd for each in manifest.bands]
    bands = np.array([each.band for each in manifest.bands])
    if (bands[np.minimum(np.searchsorted(bounds, pds), len(bands) - 1)] != scored["band"].to_numpy()).any():
        raise _change_error(path, "column 'band': must be the band of the pd")
    at_risk, expected = (
        scored[f"{name}_minor"].to_numpy(dtype=np.float64) for name in ("value_at_risk", "expected_spend")
    )
    if not (np.abs(pds * expected - at_risk) <= _MINOR_UNITS_TOLERANCE).all():
        raise _change_error(path, "column 'value_at_risk_minor': must be pd * expected_spend_minor")


def _check_counts(path: Path, manifest: RunFileManifest, rows: pd.DataFrame) -> None:
    """Raise DataInvalid unless the rows have the numbers that the manifest states."""
    counts = {status: count for status, count in manifest.counts.items() if count}
    if rows["status"].value_counts().to_dict() != counts:
        raise _change_error(path, f"the manifest counts {counts}, the rows are others")
    for name, column in (("hold_out_count", "hold_out"), ("suppressed_count", "is_suppressed")):
        stated, found = getattr(manifest, name), int(rows[column].sum())
        if stated != found:
            raise _change_error(path, f"{name}: the manifest states {stated}, the rows have {found}")
    if rows.duplicated(["market", "customer_id"]).any():
        raise _change_error(path, "a customer must have one row in each market")


def _check_ranks(path: Path, rows: pd.DataFrame) -> None:
    """Raise DataInvalid unless the ranks follow descending pd and, for equal pds, ascending customers."""
    scored = rows[rows["status"] == SCORED]
    ordered = scored.sort_values(["market", "pd", "customer_id"], ascending=[True, False, True])
    ranks = ordered.groupby("market").cumcount() + 1
    if (ordered["rank"].to_numpy(dtype=np.int64) != ranks.to_numpy()).any():
        raise _change_error(path, "column 'rank': must follow the pd within each market")


def key_account_mask(run: RunFile, key_accounts: set[CustomerKey]) -> NDArray[np.bool_]:
    """Return which rows of a run are key accounts, and check the hold-out group: shape (n,).

    Args:
        run: The run.
        key_accounts: The key accounts of the file that the run was scored with; empty if there was none.

    Raises:
        DataInvalid: The hold-out group or the number of key accounts is not that of the campaign.
    """
    manifest = run.manifest
    keys = list(zip(run.rows["market"], run.rows["customer_id"], strict=True))
    is_key = np.array([key in key_accounts for key in keys], dtype=np.bool_)
    if int(is_key.sum()) != manifest.key_account_count:
        raise _change_error(
            run.path,
            f"the manifest counts {manifest.key_account_count} key accounts, the rows have {int(is_key.sum())}",
        )
    campaign = CampaignSpec(name=manifest.campaign or "default", hold_out_share=manifest.hold_out_share)
    expected = np.array([in_hold_out(campaign, *key) for key in keys], dtype=np.bool_) & ~is_key
    if (expected != run.rows["hold_out"].to_numpy(dtype=np.bool_)).any():
        raise _change_error(
            run.path,
            f"column 'hold_out': must be the group of the campaign {manifest.campaign!r}, selected by its hash",
        )
    return is_key


def _change_error(path: Path, problem: str) -> DataInvalid:
    """Return the error for a file whose rows contradict each other or the manifest."""
    return DataInvalid(
        f"{path}: was changed after the run: {problem}; use the file that `python -m training score` wrote"
    )
