"""The results of scoring runs as a document for other programs. It contains no customer, only groups of customers."""

from dataclasses import asdict
from typing import Any

from training.results.campaign_effect import CampaignEffect
from training.results.measurement import Results, RunResult
from training.results.observed_churn import ObservedRun
from training.results.statement import cautions, statement
from training.sources.transaction_log import TransactionLog
from training.spec import Spec

_FORMAT = 1


def results_document(spec: Spec, results: Results, log: TransactionLog, notes: list[str]) -> dict[str, Any]:
    """Return the figures of the page as a document that can be written as JSON.

    Args:
        spec: The spec of the family.
        results: The results.
        log: The transaction log, which may be closed.
        notes: Sentences about how the runs were read.
    """
    return {
        "format": _FORMAT,
        "kind": "run_results",
        "family": spec.family,
        "title": spec.title,
        "statement": statement(results),
        "cautions": [*cautions(results), *notes],
        "runs": [_run_facts(run) for run in results.runs],
        "unmeasured_runs": [_file_facts(one) for one in results.unmeasured],
        "months": [
            {**asdict(month), "effect": None if month.effect is None else _effect_facts(month.effect)}
            for month in results.months
        ],
        "campaigns": [
            {**asdict(campaign), "effects": [_effect_facts(effect) for effect in campaign.effects]}
            for campaign in results.campaigns
        ],
        "data_sha256": log.digest,
        "lines": dict(log.waterfall),
        "contacts_sha256": results.contacts.sha256 if results.contacts else None,
    }


def _file_facts(observed: ObservedRun) -> dict[str, Any]:
    """Return the facts about a run, its file, and the customers without a known outcome."""
    run = observed.run
    manifest = run.manifest
    return {
        "run_id": manifest.run_id,
        "bundle_id": manifest.bundle_id,
        "as_of": run.as_of.isoformat(),
        "horizon_days": manifest.horizon_days,
        "campaign": manifest.campaign,
        "hold_out_share": manifest.hold_out_share,
        "file": run.path.name,
        "file_sha256": run.sha256,
        "left_out": dict(observed.left_out),
        "unmeasured": [asdict(market) for market in observed.unmeasured],
    }


def _run_facts(run: RunResult) -> dict[str, Any]:
    """Return the facts about a run with known outcomes."""
    return {
        **_file_facts(run.observed),
        "markets": [asdict(market) for market in run.markets],
        "effects": [_effect_facts(effect) for effect in run.effects],
    }


def _effect_facts(effect: CampaignEffect) -> dict[str, Any]:
    """Return the facts about the effect of a campaign."""
    return {**asdict(effect), "is_too_small": effect.is_too_small}
