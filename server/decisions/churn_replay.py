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
from server.decisions.bands import held_bands, plain_bands
from server.decisions.replay_verdict import Match, Scalar, Verdict, judge

DRIVERS_MAX = 3  # of a run; see the contract's ChurnRisk.drivers
AMOUNTS = "rank and amounts, which follow from the other customers and their spend"
DECLINE = "decline_pd, whose bundle or features are not kept here"
NO_TEXTS = "the words of the drivers, which are not JSON"


@dataclass(frozen=True, slots=True)
class KeptRisk:
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
    band_is_held: bool
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


def explained_again(model: Model, kept: KeptRisk) -> ExplainedScore:
    """Score and explain the features as kept.

    Raises:
        AdditivityError: The explanation is not the score.
    """
    return model.explain_rows(np.array([kept.features], dtype=np.float64))[0]


def score_verdict(kept: KeptRisk, answer: ExplainedScore, decline: Model | None) -> tuple[Verdict, str]:
    """Compare log-odds, pd, band and, where it can be, decline_pd; gives what was left out too."""
    stored: dict[str, Scalar] = {"log_odds": kept.log_odds, "pd": kept.pd, "band": kept.band}
    band = band_again(kept, answer)
    again: dict[str, Scalar] = {"log_odds": answer.log_odds, "pd": answer.pd, "band": band}
    left_out = [AMOUNTS]
    if kept.decline_pd is not None:
        if decline is None or not set(decline.bundle.schema.names) <= set(kept.names):
            left_out.insert(0, DECLINE)
        else:
            stored["decline.pd"], again["decline.pd"] = kept.decline_pd, decline_again(kept, decline)
    return compared(stored, again), "; ".join(left_out)


def band_again(kept: KeptRisk, answer: ExplainedScore) -> str:
    """Give the band by the run's bounds, held within the margin where the previous run had the same."""
    bands = [each["band"] for each in kept.manifest["bands"]]
    bounds = np.array([each["max_pd"] for each in kept.manifest["bands"]])
    before = bands.index(kept.band) if kept.band_is_held and kept.band in bands else -1
    plain = plain_bands(np.array([answer.pd]), bounds)
    margin = kept.manifest["band_margin_log_odds"]
    held = held_bands(np.array([answer.log_odds]), plain, np.array([before]), bounds, margin)
    return str(bands[int(held[0])])


def decline_again(kept: KeptRisk, decline: Model) -> float:
    """Give the second probability, by the bundle that the manifest names for it."""
    row = decline.bundle.schema.row(
        {name: kept.features[kept.names.index(name)] for name in decline.bundle.schema.names}
    )
    return pd_from_log_odds(log_odds_from_margin(decline.bundle.scorecard, float(decline.scorer.margins(row)[0])))


def explanation_verdict(kept: KeptRisk, answer: ExplainedScore, model: Model) -> tuple[Verdict, str]:
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
        return compared(stored, again), NO_TEXTS
    stored |= dict(flat("drivers", told))
    again |= dict(flat("drivers", drivers_again(model, answer, kept.values(bundle.schema))))
    return compared(stored, again), ""


def drivers_again(model: Model, answer: ExplainedScore, values: Mapping[str, FeatureInput]) -> list[dict[str, Any]]:
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


def flat(path: str, found: Any) -> Iterator[tuple[str, Scalar]]:
    """Give every value of JSON by path; an empty list or object is one too."""
    if isinstance(found, dict) and found:
        for name in sorted(found):
            yield from flat(f"{path}.{name}", found[name])
    elif isinstance(found, list) and found:
        for place, each in enumerate(found):
            yield from flat(f"{path}[{place}]", each)
    else:
        yield path, found if isinstance(found, float | int | str) else json.dumps(found)


def compared(stored: Mapping[str, Scalar], again: Mapping[str, Scalar]) -> Verdict:
    """Judge. Which runtime scored a run is not recorded: what is not equal to the bit may be another one's."""
    verdict = judge(stored, again, same_runtime=True)
    return verdict if isinstance(verdict, Match) else judge(stored, again, same_runtime=False)
