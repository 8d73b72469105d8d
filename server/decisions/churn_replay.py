"""A customer's churn risk computed again from the features as kept: pure, field by field, for `judge`."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.explained_score import ExplainedScore
from models.model import Model
from models.reasons import principal_reasons, reason_text
from models.schema import FeatureInput, Schema
from models.scorecard import log_odds_from_margin, pd_from_log_odds
from server.decisions.bands import hysteresis_bands, threshold_bands
from server.decisions.replay_verdict import ReplayMatch, ReplayVerdict, Scalar, compare_fields

DRIVERS_MAX = 3  # of a run; see the contract's ChurnRisk.drivers
LEFT_OUT_AMOUNTS = "rank and amounts, which follow from the other customers and their spend"
LEFT_OUT_DECLINE = "decline_pd, whose bundle or features are not kept here"
LEFT_OUT_TEXTS = "the words of the drivers, which are not JSON"


@dataclass(frozen=True, slots=True)
class StoredRisk:
    """A customer with a score, as the run keeps it.

    Attributes:
        band_is_held: Whether the previous run had the same band: then the margin holds it.
        features: By place in feature_names; NaN where missing.
        drivers: JSON.
        manifest: Of the run.
    """

    log_odds: float
    pd: float
    band: str
    had_same_band: bool
    decline_pd: float | None
    features: Sequence[float]
    contributions: Sequence[float]
    drivers: str
    manifest: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """Give the names of the features."""
        return list(self.manifest["feature_names"])

    def values(self, schema: Schema) -> dict[str, FeatureInput]:
        """Give the values that are there, levels by name."""
        there = zip(self.names, self.features, strict=True)
        return {name: schema.decode_value(name, number) for name, number in there if not math.isnan(number)}


def recompute_explanation(model: Model, kept: StoredRisk) -> ExplainedScore:
    """Score and explain the features as kept.

    Raises:
        AdditivityError: The explanation is not the score.
    """
    return model.explain_rows(np.array([kept.features], dtype=np.float64))[0]


def score_verdict(kept: StoredRisk, answer: ExplainedScore, decline: Model | None) -> tuple[ReplayVerdict, str]:
    """Compare log-odds, pd, band and, where it can be, decline_pd; gives what was left out too."""
    stored: dict[str, Scalar] = {"log_odds": kept.log_odds, "pd": kept.pd, "band": kept.band}
    band = _recompute_band(kept, answer)
    again: dict[str, Scalar] = {"log_odds": answer.log_odds, "pd": answer.pd, "band": band}
    left_out = [LEFT_OUT_AMOUNTS]
    if kept.decline_pd is not None:
        if decline is None or not set(decline.bundle.schema.names) <= set(kept.names):
            left_out.insert(0, LEFT_OUT_DECLINE)
        else:
            stored["decline.pd"], again["decline.pd"] = kept.decline_pd, _recompute_decline_pd(kept, decline)
    return _compare(stored, again), "; ".join(left_out)


def _recompute_band(kept: StoredRisk, answer: ExplainedScore) -> str:
    """Give the band by the run's bounds, held within the margin where the previous run had the same."""
    bands = [each["band"] for each in kept.manifest["bands"]]
    bounds = np.array([each["max_pd"] for each in kept.manifest["bands"]])
    before = bands.index(kept.band) if kept.had_same_band and kept.band in bands else -1
    plain = threshold_bands(np.array([answer.pd]), bounds)
    margin = kept.manifest["band_margin_log_odds"]
    held = hysteresis_bands(np.array([answer.log_odds]), plain, np.array([before]), bounds, margin)
    return str(bands[int(held[0])])


def _recompute_decline_pd(kept: StoredRisk, decline: Model) -> float:
    """Give the second probability, by the bundle that the manifest names for it."""
    row = decline.bundle.schema.row(
        {name: kept.features[kept.names.index(name)] for name in decline.bundle.schema.names}
    )
    return pd_from_log_odds(log_odds_from_margin(decline.bundle.scorecard, float(decline.scorer.margins(row)[0])))


def explanation_verdict(kept: StoredRisk, answer: ExplainedScore, model: Model) -> tuple[ReplayVerdict, str]:
    """Compare baseline, contributions and drivers, word for word."""
    bundle = model.bundle
    stored: dict[str, Scalar] = {name: kept.manifest[name] for name in ("baseline_sha256", "base_value")}
    again: dict[str, Scalar] = {"baseline_sha256": bundle.baseline_sha256, "base_value": answer.base_value}
    stored |= {f'contributions["{name}"]': one for name, one in zip(kept.names, kept.contributions, strict=True)}
    again |= {
        f'contributions["{name}"]': one for name, one in zip(bundle.schema.names, answer.contributions, strict=True)
    }
    try:
        told = json.loads(kept.drivers)
    except ValueError:
        return _compare(stored, again), LEFT_OUT_TEXTS
    stored |= dict(_flat_json("drivers", told))
    again |= dict(_flat_json("drivers", _recompute_drivers(model, answer, kept.values(bundle.schema))))
    return _compare(stored, again), ""


def _recompute_drivers(
    model: Model, answer: ExplainedScore, values: Mapping[str, FeatureInput]
) -> list[dict[str, Any]]:
    """Say what pushes toward leaving, in every language of the bundle."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    return [
        {
            "code": push.code,
            "log_odds": push.log_odds,
            "features": list(push.features),
            "texts": {
                locale: reason_text(schema, push, locale, values, typical) for locale in schema.group[push.code].texts
            },
        }
        for push in principal_reasons(schema, answer.contributions, answer.points, DRIVERS_MAX)
    ]


def _flat_json(path: str, found: Any) -> Iterator[tuple[str, Scalar]]:
    """Give every value of JSON by path; an empty list or object is one too."""
    if isinstance(found, dict) and found:
        for name in sorted(found):
            yield from _flat_json(f"{path}.{name}", found[name])
    elif isinstance(found, list) and found:
        for place, each in enumerate(found):
            yield from _flat_json(f"{path}[{place}]", each)
    else:
        yield path, found if isinstance(found, float | int | str) else json.dumps(found)


def _compare(stored: Mapping[str, Scalar], again: Mapping[str, Scalar]) -> ReplayVerdict:
    """Judge. Which runtime scored a run is not recorded: what is not equal to the bit may be another one's."""
    verdict = compare_fields(stored, again, same_runtime=True)
    return verdict if isinstance(verdict, ReplayMatch) else compare_fields(stored, again, same_runtime=False)
