"""A risk run: every customer in scope as of a date, scored and explained by one bundle, as a file to load.

The server never scores a run anew, so a list, a single read and this file agree to the bit. Customers go by in batches,
twice: once for their pds, from which ranks and the run's id follow, and once to be explained and written.
"""

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.atomic_files import replace_file
from models.model import Model
from models.scorecard import log_odds_from_margin
from training.errors import DataInvalid, SpecInvalid
from training.scoring.campaign import in_hold_out, read_suppressions
from training.scoring.drivers import DriverTexts
from training.scoring.feature_file import KEY_COLUMNS
from training.scoring.predictions import predict_pds
from training.scoring.run_columns import RUN_COLUMNS, SCORED, feature_matrix, query_batches, run_columns
from training.sources.snapshots import check_log_reaches, create_customers
from training.sources.transaction_log import SourcePaths, open_transaction_log, table_source, temporary_database
from training.spec import Spec

_FORMAT = 2
_COUNTED_APART = {"HOLD_OUT", "SUPPRESSED"}  # counted beside the statuses: such customers have a score


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is made with beside spec and model.

    Attributes:
        decline: The model of the second output, or none.
        suppress: The suppression list, or none.
        spec_sha256: Digest of the spec.
        threads: For DuckDB; no byte depends on it.
        say: Called with (customers done, customers in all, what is being done).
    """

    decline: Model | None = None
    suppression_list: Path | None = None
    spec_sha256: str = ""
    threads: int = 1
    report_progress: Callable[[int, int, str], None] = field(default=lambda _done, _total, _what: None)


@dataclass(frozen=True, slots=True)
class _RunInputs:
    """A run in the making: `scope` is the view of its customers."""

    connection: duckdb.DuckDBPyConnection
    spec: Spec
    model: Model
    options: RunOptions
    rules: tuple[tuple[str, int], ...]


def score_feature_file(spec: Spec, model: Model, features: Path, to: Path, extras: RunOptions | None = None) -> int:
    """Score every customer of a feature file and write the run; gives the number of customers.

    Raises:
        DataInvalid: The feature file is not one, or its features are not those of the model.
    """
    _check_feature_file(features, model)
    extras = extras or RunOptions()
    _check_features_present(pq.read_schema(features).names, spec, (model, extras.decline))
    with temporary_database(extras.threads) as connection:
        horizon = spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days
        connection.execute(
            f"CREATE VIEW scope AS SELECT *, 'SCORED' AS status, {horizon} AS horizon_days FROM {table_source(features)[0]}"  # noqa: S608 - quoted
        )
        return _write_run(_RunInputs(connection, spec, model, extras, ()), to)


def score_transaction_log(
    spec: Spec, model: Model, sources: SourcePaths, at: dt.date, to: Path, extras: RunOptions
) -> int:
    """Score every customer of a log as of a date and write the run; gives the number of customers.

    Raises:
        DataInvalid: The log cannot be right, or does not reach the date.
    """
    assert spec.log is not None
    assert spec.snapshots is not None
    extras.report_progress(0, 0, "read the log")
    with open_transaction_log(spec.log, spec.status, sources, extras.threads) as log:
        check_log_reaches(log, spec.snapshots, at)
        extras.report_progress(0, 0, "features of all customers")
        create_customers(log, spec.snapshots, at)
        _check_features_present(log.connection.table("customers").columns, spec, (model, extras.decline))
        time = f"TIMESTAMPTZ '{at} 00:00:00+00'"
        log.connection.execute(f"CREATE VIEW scope AS SELECT *, {time} AS as_of FROM customers")  # noqa: S608 - ours
        return _write_run(_RunInputs(log.connection, spec, model, extras, log.waterfall), to)


def _check_feature_file(path: Path, model: Model) -> None:
    """Refuse a file that is no feature file of the model."""
    try:
        manifest = json.loads((pq.read_schema(path).metadata or {}).get(b"grounds", b"{}"))
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException, json.JSONDecodeError) as error:
        raise DataInvalid(f"{path}: cannot be read as a feature file: {error}") from error
    if manifest.get("kind") != "features":
        raise DataInvalid(f"{path}: is no feature file; `python -m training fit` writes one")
    if manifest["feature_set_digest"] != model.bundle.schema.feature_set_digest:
        raise DataInvalid(f"{path}: holds other features than bundle {model.bundle.bundle_id[:12]} takes")
    if not rows:
        raise DataInvalid(f"{path}: has no customers")


def _check_features_present(there: Sequence[str], spec: Spec, models: Sequence[Model | None]) -> None:
    """Refuse models, and a [value], of other features than those that are there."""
    for model in models:
        names = model.bundle.schema.names if model else ()
        if model and (absent := [name for name in names if name not in there]):
            raise DataInvalid(
                f"bundle {model.bundle.bundle_id[:12]} takes features that are not there: {', '.join(absent)}"
            )
    if spec.value is not None and spec.value.feature not in there:
        raise SpecInvalid(f"value: {spec.value.feature!r} is not among the features that are there")


def _write_run(making: _RunInputs, to: Path) -> int:
    """Write the run of the customers in `scope`."""
    connection = making.connection
    twice = _single_value(connection, "SELECT COUNT(*) - COUNT(DISTINCT (market, customer_id)) FROM scope")
    if twice:
        raise DataInvalid(f"{twice} customers are there twice; a run has one row for each")
    at = _single_value(connection, "SELECT CAST(MAX(as_of) AS DATE) FROM scope")
    suppressed = read_suppressions(connection, making.options.suppression_list, at)
    total: int = _single_value(connection, "SELECT COUNT(*) FROM scope")
    features_sha256, counts = _rank_customers(making, total)
    manifest = _manifest(making, features_sha256, suppressed, counts)
    metadata = {"grounds": json.dumps(manifest, sort_keys=True)}
    schema = pa.schema([*KEY_COLUMNS, *RUN_COLUMNS], metadata=metadata)
    bundle, models = making.model.bundle, (making.model, making.options.decline)
    drivers = DriverTexts(bundle.schema, bundle.baseline.typical)
    query = """SELECT * FROM scope LEFT JOIN ranks USING (market, customer_id) LEFT JOIN suppressed USING (market,
        customer_id) ORDER BY market, rank NULLS LAST, customer_id"""
    to.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with replace_file(to) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for rows in query_batches(connection, query):
            writer.write_table(pa.table(run_columns(making.spec, models, drivers, rows), schema=schema))
            done += len(rows)
            making.options.report_progress(done, total, "explain and write")
    return total


def _rank_customers(making: _RunInputs, total: int) -> tuple[str, dict[str, int]]:
    """Make the table `ranks` of everyone who is scored; gives a digest of all that is scored, and counts."""
    names = list(making.model.bundle.schema.names)
    if making.options.decline is not None:
        names += [name for name in making.options.decline.bundle.schema.names if name not in names]
    if making.spec.value is not None and making.spec.value.feature not in names:
        names.append(making.spec.value.feature)
    content = [hashlib.sha256(), hashlib.sha256()]  # keys, and numbers: each goes on from batch to batch
    counts, parts, done = Counter(HOLD_OUT=0), [], 0
    for rows in query_batches(making.connection, "SELECT * FROM scope ORDER BY market, customer_id"):
        keys = zip(*(rows[name].to_pylist() for name in ("market", "customer_id", "status", "as_of")), strict=True)
        for market, customer_id, status, as_of in keys:
            content[0].update(f"{market}|{customer_id}|{status}|{as_of.isoformat()}\n".encode())
            counts[status] += 1
            counts["HOLD_OUT"] += in_hold_out(making.spec.campaign, market, customer_id)
        content[1].update(feature_matrix(rows, [*names, "horizon_days"]).tobytes())
        scored = rows.filter(pc.equal(rows["status"], SCORED)).select(["market", "customer_id"])
        pds = predict_pds(
            making.model,
            feature_matrix(rows.filter(pc.equal(rows["status"], SCORED)), making.model.bundle.schema.names),
        )
        parts.append(scored.append_column("ranked_pd", pa.array(pds, pa.float64())))
        done += len(rows)
        making.options.report_progress(done, total, "score")
    making.connection.register("ranked", pa.concat_tables(parts))
    making.connection.execute(
        """CREATE TABLE ranks AS SELECT market, customer_id, CAST(ROW_NUMBER() OVER
        (PARTITION BY market ORDER BY ranked_pd DESC, customer_id) AS INTEGER) AS rank FROM ranked"""
    )
    making.connection.unregister("ranked")
    listed = "SELECT COUNT(*) FROM scope SEMI JOIN suppressed USING (market, customer_id)"
    counts["SUPPRESSED"] = _single_value(making.connection, listed)
    return hashlib.sha256("|".join(part.hexdigest() for part in content).encode()).hexdigest(), dict(counts)


def _single_value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """Give the one value that a query has."""
    return connection.execute(query).fetchall()[0][0]


def _manifest(making: _RunInputs, features_sha256: str, suppressed: str, counts: dict[str, int]) -> dict[str, Any]:
    """Say what the run is; its id follows from all that went into it, so the same run has the same id."""
    spec, bundle, decline = making.spec, making.model.bundle, making.options.decline
    campaign = spec.campaign
    decline_id = decline.bundle.bundle_id if decline else ""
    made_of = (
        bundle.bundle_id,
        decline_id,
        features_sha256,
        suppressed,
        campaign.name,
        campaign.hold_out_share,
        spec.run,
    )
    value = spec.value.model_dump_json() if spec.value else ""
    return {
        "format": _FORMAT,
        "kind": "run",
        "family": spec.family,
        "run_id": hashlib.sha256("|".join(map(str, (*made_of, value))).encode()).hexdigest()[:32],
        "bundle_id": bundle.bundle_id,
        "decline_bundle_id": decline_id,
        "model_markets": list(bundle.manifest.markets),
        "features_sha256": features_sha256,
        "feature_names": list(bundle.schema.names),
        "feature_groups": [feature.group for feature in bundle.schema.features],
        "base_value": log_odds_from_margin(bundle.scorecard, bundle.baseline.base_margin),
        "baseline_sha256": bundle.baseline_sha256,
        "method": bundle.baseline.method,
        "baseline_rows": bundle.baseline.row_count,
        "baseline_definition": bundle.baseline.definition,
        "currency": spec.log.currency if spec.log else "",
        "bands": [{"band": grade.grade, "max_pd": grade.max_pd} for grade in bundle.scorecard.grades],
        "band_margin_log_odds": spec.run.band_margin_log_odds,
        "horizon_days": spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days,
        "valid_days": spec.run.valid_days,
        "campaign": campaign.name,
        "hold_out_share": campaign.hold_out_share,
        "suppressions_sha256": suppressed,
        "spec_sha256": making.options.spec_sha256,
        "master_scale_version": bundle.scorecard.master_scale_version,
        "counts": {status: count for status, count in counts.items() if status not in _COUNTED_APART},
        "hold_out_count": counts["HOLD_OUT"],
        "suppressed_count": counts["SUPPRESSED"],
        "rules": dict(making.rules),
    }
