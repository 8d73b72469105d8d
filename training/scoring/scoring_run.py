"""Performs scoring runs. A run scores and explains all customers in scope as of a date, and writes a run file.

The server stores the predictions of the file and never recomputes them, so both the lists and the single predictions
that the server returns agree with the file bit for bit. A run reads the customers twice, in batches: first to compute the pds,
which determine the ranks, and then to explain and write each customer.
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

from models.atomic_files import make_folder, replace_file
from models.model import Model
from models.scorecard import log_odds_from_margin
from training.errors import DataInvalid, SpecInvalid
from training.scoring.campaign import in_hold_out, read_key_accounts, read_suppressions, unmatched_customers
from training.scoring.drivers import DriverTexts
from training.scoring.expected_spend import ExpectedSpend
from training.scoring.feature_file import KEY_COLUMNS, check_replaceable
from training.scoring.predictions import predict_pds
from training.scoring.run_columns import RUN_COLUMNS, SCORED, feature_matrix, query_batches, run_columns
from training.sources.currencies import run_currencies
from training.sources.reader.raw_table import quote_path
from training.sources.samples import Waterfall
from training.sources.snapshots import create_run_customers, derived_features
from training.sources.transaction_log import SourcePaths, open_transaction_log, temporary_database
from training.spec import Spec
from training.spec.log_defaults import RUN_BANDS

_FORMAT = 2
# Customers of these groups are also counted under their status, or do not occur in the data.
_NOT_STATUSES = {"HOLD_OUT", "SUPPRESSED", "SUPPRESSED_UNKNOWN", "KEY_ACCOUNTS"}
_SCOPE_WITH_KEYS = """(SELECT *, EXISTS (SELECT 1 FROM key_accounts WHERE key_accounts.market = scope.market
    AND key_accounts.customer_id = scope.customer_id) AS is_key_account FROM scope)"""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a scoring run.

    Attributes:
        decline: The model that predicts a decline of spend; None for no such prediction.
        key_accounts: File of the customers who are never in the hold-out group; None for no such customers.
        suppression_list: File of the suppressed customers; None if there are none.
        spec_sha256: SHA-256 of the spec, for the manifest.
        threads: Number of threads of DuckDB; no byte of the run file depends on it.
        report_progress: Function that is called with (completed customers, all customers, stage).
        report_finding: Function that is called with a sentence to show to the user.
        keep_other_markets: Whether to reject a run that would replace a run file of other markets.
    """

    decline: Model | None = None
    key_accounts: Path | None = None
    suppression_list: Path | None = None
    spec_sha256: str = ""
    threads: int = 1
    report_progress: Callable[[int, int, str], None] = field(default=lambda _done, _total, _stage: None)
    report_finding: Callable[[str], None] = field(default=lambda _sentence: None)
    keep_other_markets: bool = False


@dataclass(frozen=True, slots=True)
class _RunInputs:
    """The inputs of a scoring run.

    Attributes:
        connection: Connection to a database whose view `scope` has the customers of the run.
        spec: The spec of the family.
        model: The model of the family.
        options: The options of the run.
        rules: The waterfall of the transaction log; empty for a feature file.
        known: Table or view with every customer of the data, including those that are not in `scope`.
    """

    connection: duckdb.DuckDBPyConnection
    spec: Spec
    model: Model
    options: RunOptions
    rules: Waterfall
    known: str


def score_feature_file(spec: Spec, model: Model, features: Path, to: Path, options: RunOptions | None = None) -> int:
    """Score every customer of a feature file and write the run file; return the number of customers.

    Raises:
        SpecInvalid: [value] uses a feature that the file does not have.
        DataInvalid: The file is not a feature file, or its features differ from those of the model.
    """
    _check_feature_file(features, model)
    options = options or RunOptions()
    _report_unloadable_bands(model, options)
    _check_features_present(pq.read_schema(features).names, spec, (model, options.decline))
    if spec.log is not None and not ExpectedSpend.from_spec(spec, pq.read_schema(features).names).columns:
        options.report_finding(
            "the feature file has no spend, so every value at risk is 0.00; score the log with --at, or set [value]"
        )
    with temporary_database(options.threads) as connection:
        horizon = spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days
        source = f"read_parquet({quote_path(features)})"
        connection.execute(
            f"CREATE VIEW scope AS SELECT *, 'SCORED' AS status, {horizon} AS horizon_days FROM {source}"  # noqa: S608 - quoted
        )
        return _write_run(_RunInputs(connection, spec, model, options, (), "scope"), to)


def score_transaction_log(
    spec: Spec, model: Model, sources: SourcePaths, at: dt.date, to: Path, options: RunOptions
) -> int:
    """Score every customer of a transaction log as of a date and write the run file; return the number of customers.

    Raises:
        SpecInvalid: The spec specifies an unknown column, or [value] uses an unknown feature.
        DataInvalid: The log is invalid or ends before the date, or a model requires a feature that features.sql does
            not define.
    """
    assert spec.log is not None
    assert spec.snapshots is not None
    _report_unloadable_bands(model, options)
    options.report_progress(0, 0, "read the transaction log")
    with open_transaction_log(
        spec.log, spec.status, sources, options.threads, aliases=spec.aliases, derived=derived_features(spec)
    ) as log:
        options.report_finding(log.confirmation)
        options.report_progress(0, 0, "compute the features of all customers")
        left_out = create_run_customers(log, spec, at)
        for label, count in left_out:
            options.report_finding(f"{label}: {count:,} customers")
        _check_features_present(log.connection.table("customers").columns, spec, (model, options.decline))
        time = f"TIMESTAMPTZ '{at} 00:00:00+00'"
        log.connection.execute(f"CREATE VIEW scope AS SELECT *, {time} AS as_of FROM customers")  # noqa: S608 - `time` is a literal
        return _write_run(
            _RunInputs(log.connection, spec, model, options, (*log.waterfall, *left_out), "valid_lines"), to
        )


def _check_feature_file(path: Path, model: Model) -> None:
    """Raise DataInvalid unless the file is a feature file of the model with at least one customer."""
    try:
        manifest = json.loads((pq.read_schema(path).metadata or {}).get(b"grounds", b"{}"))
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException, json.JSONDecodeError) as error:
        raise DataInvalid(
            f"{path}: cannot be read as a feature file: {error}; write it again with `python -m training features`"
        ) from error
    if manifest.get("kind") != "features":
        raise DataInvalid(f"{path}: is not a feature file; write a feature file with `python -m training features`")
    if manifest["feature_set_digest"] != model.bundle.schema.feature_set_digest:
        raise DataInvalid(
            f"{path}: the features differ from those that bundle {model.bundle.bundle_id[:12]} requires; write the file "
            "again with `python -m training features`"
        )
    if not rows:
        raise DataInvalid(f"{path}: has no customers; write a feature file with at least one customer")


def _check_features_present(present: Sequence[str], spec: Spec, models: Sequence[Model | None]) -> None:
    """Raise DataInvalid if a feature of a model is missing, and SpecInvalid if the feature of [value] is missing."""
    for model in models:
        names = model.bundle.schema.names if model else ()
        if model and (missing := [name for name in names if name not in present]):
            raise DataInvalid(
                f"bundle {model.bundle.bundle_id[:12]} requires features that the data do not have: {', '.join(missing)}; "
                "add them to the spec, or fit the model again"
            )
    if spec.value is not None and spec.value.feature not in present:
        raise SpecInvalid(
            f"value.feature: the data do not have the feature {spec.value.feature!r}; use a feature of the spec"
        )


def _report_unloadable_bands(model: Model, options: RunOptions) -> None:
    """Report that the server refuses the run if the grades of the bundle are not the bands of a run."""
    grades = [grade.grade for grade in model.bundle.scorecard.grades]
    if not set(grades) <= set(RUN_BANDS):
        options.report_finding(
            f"the server cannot load this run: its bands must be among {', '.join(RUN_BANDS)}, and the grades of the bundle are "
            f"{', '.join(grades)}; set score.grades to these bands, and fit again"
        )


def _write_run(inputs: _RunInputs, to: Path) -> int:
    """Write the run file of the customers in `scope`; return their number."""
    connection, options = inputs.connection, inputs.options
    duplicates = _single_value(connection, "SELECT COUNT(*) - COUNT(DISTINCT (market, customer_id)) FROM scope")
    if duplicates:
        raise DataInvalid(
            f"each market and customer must have exactly one row, got {duplicates} additional rows; remove them"
        )
    if options.keep_other_markets:
        markets = connection.execute(f"SELECT DISTINCT market FROM {inputs.known}").fetchall()  # noqa: S608 - the name of a view
        check_replaceable(to, [market for (market,) in markets], "--to FILE")
    at = _single_value(connection, "SELECT CAST(MAX(as_of) AS DATE) FROM scope")
    suppressions_sha256 = read_suppressions(connection, options.suppression_list, at)
    key_accounts_sha256 = read_key_accounts(connection, options.key_accounts)
    unmatched = {
        listed: unmatched_customers(connection, listed, inputs.known) for listed in ("suppressed", "key_accounts")
    }
    for _, sentence in unmatched.values():
        if sentence:
            options.report_finding(sentence)
    total: int = _single_value(connection, "SELECT COUNT(*) FROM scope")
    features_sha256, counts = _rank_customers(inputs, total)
    counts["SUPPRESSED_UNKNOWN"] = unmatched["suppressed"][0]
    manifest = _manifest(inputs, features_sha256, suppressions_sha256, key_accounts_sha256, counts)
    metadata = {"grounds": json.dumps(manifest, sort_keys=True)}
    schema = pa.schema([*KEY_COLUMNS, *RUN_COLUMNS], metadata=metadata)
    bundle = inputs.model.bundle
    drivers = DriverTexts(bundle.schema, bundle.baseline.typical)
    query = f"""SELECT * FROM {_SCOPE_WITH_KEYS} LEFT JOIN ranks USING (market, customer_id) LEFT JOIN suppressed USING
        (market, customer_id) ORDER BY market, rank NULLS LAST, customer_id"""  # noqa: S608 - a constant
    make_folder(to.parent)
    done = 0
    with replace_file(to) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for rows in query_batches(connection, query):
            columns = run_columns(inputs.spec, inputs.model, drivers, rows, decline=options.decline)
            writer.write_table(pa.table(columns, schema=schema))
            done += len(rows)
            options.report_progress(done, total, "explain and write")
    return total


def _rank_customers(inputs: _RunInputs, total: int) -> tuple[str, dict[str, int]]:
    """Create the table `ranks` with the rank of every scored customer.

    Returns:
        A digest of all customers and their features, and the number of customers by status.
    """
    model, connection = inputs.model, inputs.connection
    names = _input_names(inputs)
    # Keys and numbers have separate digests, so that the result does not depend on the size of the batches.
    keys_digest, numbers_digest = hashlib.sha256(), hashlib.sha256()
    counts, parts, done = Counter(HOLD_OUT=0), [], 0
    for rows in query_batches(connection, f"SELECT * FROM {_SCOPE_WITH_KEYS} ORDER BY market, customer_id"):  # noqa: S608 - a constant
        names_of_keys = ("market", "customer_id", "status", "as_of", "is_key_account")
        keys = zip(*(rows[name].to_pylist() for name in names_of_keys), strict=True)
        for market, customer_id, status, as_of, is_key_account in keys:
            keys_digest.update(f"{market}|{customer_id}|{status}|{as_of.isoformat()}\n".encode())
            counts[status] += 1
            counts["HOLD_OUT"] += not is_key_account and in_hold_out(inputs.spec.campaign, market, customer_id)
            counts["KEY_ACCOUNTS"] += is_key_account
        numbers_digest.update(feature_matrix(rows, [*names, "horizon_days"]).tobytes())
        scored = rows.filter(pc.equal(rows["status"], SCORED))
        pds = predict_pds(model, feature_matrix(scored, model.bundle.schema.names))
        ranked = scored.select(["market", "customer_id"]).append_column("ranked_pd", pa.array(pds, pa.float64()))
        parts.append(ranked)
        done += len(rows)
        inputs.options.report_progress(done, total, "score")
    connection.register("ranked", pa.concat_tables(parts))
    connection.execute(
        """CREATE TABLE ranks AS SELECT market, customer_id, CAST(ROW_NUMBER() OVER
        (PARTITION BY market ORDER BY ranked_pd DESC, customer_id) AS INTEGER) AS rank FROM ranked"""
    )
    connection.unregister("ranked")
    suppressed = "SELECT COUNT(*) FROM scope SEMI JOIN suppressed USING (market, customer_id)"
    counts["SUPPRESSED"] = _single_value(connection, suppressed)
    digest = hashlib.sha256(f"{keys_digest.hexdigest()}|{numbers_digest.hexdigest()}".encode()).hexdigest()
    return digest, dict(counts)


def _input_names(inputs: _RunInputs) -> list[str]:
    """Return the names of all features that the run uses: those of both models, and those of the expected spend."""
    names = list(inputs.model.bundle.schema.names)
    if inputs.options.decline is not None:
        names += [name for name in inputs.options.decline.bundle.schema.names if name not in names]
    present = inputs.connection.table("scope").columns
    return [*names, *(name for name in ExpectedSpend.from_spec(inputs.spec, present).columns if name not in names)]


def _single_value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """Return the value that a query with a single row and column selects."""
    return connection.execute(query).fetchall()[0][0]


def _manifest(
    inputs: _RunInputs, features_sha256: str, suppressions_sha256: str, key_accounts_sha256: str, counts: dict[str, int]
) -> dict[str, Any]:
    """Return the manifest of the run. Its run_id is a digest of all inputs, so runs of equal inputs share one id."""
    spec, bundle, decline = inputs.spec, inputs.model.bundle, inputs.options.decline
    campaign = spec.campaign
    decline_id = decline.bundle.bundle_id if decline else ""
    identity = (
        bundle.bundle_id,
        decline_id,
        features_sha256,
        suppressions_sha256,
        campaign.name,
        campaign.hold_out_share,
        spec.run,
        spec.value.model_dump_json() if spec.value else "",
        *([key_accounts_sha256] if key_accounts_sha256 else []),
    )
    return {
        "format": _FORMAT,
        "kind": "run",
        "family": spec.family,
        "run_id": hashlib.sha256("|".join(map(str, identity)).encode()).hexdigest()[:32],
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
        **run_currencies(spec),
        "bands": [{"band": grade.grade, "max_pd": grade.max_pd} for grade in bundle.scorecard.grades],
        "band_margin_log_odds": spec.run.band_margin_log_odds,
        "horizon_days": spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days,
        "valid_days": spec.run.valid_days,
        "campaign": campaign.name,
        "hold_out_share": campaign.hold_out_share,
        "suppressions_sha256": suppressions_sha256,
        "key_accounts_sha256": key_accounts_sha256,
        "spec_sha256": inputs.options.spec_sha256,
        "master_scale_version": bundle.scorecard.master_scale_version,
        "counts": {status: count for status, count in counts.items() if status not in _NOT_STATUSES},
        "hold_out_count": counts["HOLD_OUT"],
        "suppressed_count": counts["SUPPRESSED"],
        "key_account_count": counts.get("KEY_ACCOUNTS", 0),
        "suppressed_unknown_count": counts["SUPPRESSED_UNKNOWN"],
        "rules": dict(inputs.rules),
    }
