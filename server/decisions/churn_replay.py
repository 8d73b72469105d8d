"""Computes a churn prediction again from its stored features, and compares it with the stored prediction."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.explained_score import ExplainedScore
from models.model import Model
from models.schema import FeatureInput, Schema
from models.scorecard import log_odds_from_margin, pd_from_log_odds
from models.stated_reasons import stated_reasons, stated_text
from server.decisions.bands import hysteresis_bands, threshold_bands
from server.decisions.replay_verdict import ReplayMatch, ReplayVerdict, Scalar, compare_fields

_DRIVERS_MAX = 3  # drivers per prediction; see ChurnRisk.drivers in the .proto files
LEFT_OUT_AMOUNTS = "rank and amounts, which depend on the other customers and their spend"
LEFT_OUT_DECLINE = "decline_pd, whose bundle or features are not stored here"
LEFT_OUT_TEXTS = "the texts of the drivers, which are not JSON"


@dataclass(frozen=True, slots=True)
class StoredRisk:
    """A scored customer of a run, as stored.

    Attributes:
        log_odds: The model's log-odds.
        pd: Probability of churn, 0 to 1.
        band: Name of the risk band.
        had_same_band: Whether the customer had the same band in the previous run. If so, hysteresis may explain the
            band.
        decline_pd: Probability that the spend declines; None if the run has no such probability.
        features: Values in the order of the manifest's feature_names; NaN for a missing value.
        contributions: Contributions in log-odds, in the order of the manifest's feature_names.
        drivers: The drivers as a JSON list.
        manifest: The run's manifest.
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
        """Return the names of the features."""
        return list(self.manifest["feature_names"])

    def values(self, schema: Schema) -> dict[str, FeatureInput]:
        """Return the feature values that are not missing, by feature.

        The value of a category feature is the name of its level.
        """
        named = zip(self.names, self.features, strict=True)
        return {name: schema.decode_value(name, number) for name, number in named if not math.isnan(number)}


def recompute_explanation(model: Model, risk: StoredRisk) -> ExplainedScore:
    """Score and explain the stored features.

    Raises:
        AdditivityError: The contributions do not add up to the score.
    """
    return model.explain_rows(np.array([risk.features], dtype=np.float64))[0]


def compare_score(risk: StoredRisk, answer: ExplainedScore, decline: Model | None) -> tuple[ReplayVerdict, str]:
    """Compare log-odds, pd and band, and the decline probability if its model and features are available.

    Args:
        risk: The stored prediction.
        answer: The recomputed score.
        decline: The model of the decline probability; None if it cannot be opened.

    Returns:
        The verdict, and a text that lists what was not compared.
    """
    stored: dict[str, Scalar] = {"log_odds": risk.log_odds, "pd": risk.pd, "band": risk.band}
    band = _recompute_band(risk, answer)
    again: dict[str, Scalar] = {"log_odds": answer.log_odds, "pd": answer.pd, "band": band}
    left_out = [LEFT_OUT_AMOUNTS]
    if risk.decline_pd is not None:
        if decline is None or not set(decline.bundle.schema.names) <= set(risk.names):
            left_out.insert(0, LEFT_OUT_DECLINE)
        else:
            stored["decline.pd"], again["decline.pd"] = risk.decline_pd, _recompute_decline_pd(risk, decline)
    return _compare(stored, again), "; ".join(left_out)


def _recompute_band(risk: StoredRisk, answer: ExplainedScore) -> str:
    """Return the name of the band. Hysteresis applies if the customer had the stored band in the previous run too."""
    bands = [each["band"] for each in risk.manifest["bands"]]
    bounds = np.array([each["max_pd"] for each in risk.manifest["bands"]])
    before = bands.index(risk.band) if risk.had_same_band and risk.band in bands else -1
    by_threshold = threshold_bands(np.array([answer.pd]), bounds)
    margin = risk.manifest["band_margin_log_odds"]
    (position,) = hysteresis_bands(np.array([answer.log_odds]), by_threshold, np.array([before]), bounds, margin)
    return str(bands[int(position)])


def _recompute_decline_pd(risk: StoredRisk, decline: Model) -> float:
    """Return the decline probability that the model `decline` computes from the stored features."""
    row = decline.bundle.schema.row(
        {name: risk.features[risk.names.index(name)] for name in decline.bundle.schema.names}
    )
    return pd_from_log_odds(log_odds_from_margin(decline.bundle.scorecard, float(decline.scorer.margins(row)[0])))


def compare_explanation(risk: StoredRisk, answer: ExplainedScore, model: Model) -> tuple[ReplayVerdict, str]:
    """Compare baseline, contributions and drivers, including the texts of the drivers.

    Returns:
        The verdict, and a text that lists what was not compared; "" if everything was compared.
    """
    bundle = model.bundle
    stored: dict[str, Scalar] = {name: risk.manifest[name] for name in ("baseline_sha256", "base_value")}
    again: dict[str, Scalar] = {"baseline_sha256": bundle.baseline_sha256, "base_value": answer.base_value}
    stored |= {f'contributions["{name}"]': one for name, one in zip(risk.names, risk.contributions, strict=True)}
    again |= {
        f'contributions["{name}"]': one for name, one in zip(bundle.schema.names, answer.contributions, strict=True)
    }
    try:
        drivers = json.loads(risk.drivers)
    except ValueError:
        return _compare(stored, again), LEFT_OUT_TEXTS
    stored |= dict(_flat_json("drivers", drivers))
    again |= dict(_flat_json("drivers", _recompute_drivers(model, answer, risk.values(bundle.schema))))
    return _compare(stored, again), ""


def _recompute_drivers(
    model: Model, answer: ExplainedScore, values: Mapping[str, FeatureInput]
) -> list[dict[str, Any]]:
    """Return the drivers, strongest first, with a text in every language that the bundle has for the driver."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    return [
        {
            "code": driver.code,
            "log_odds": driver.log_odds,
            "features": list(driver.features),
            "texts": {
                locale: stated_text(schema, driver, locale, values, typical)
                for locale in schema.group[driver.code].texts
            },
        }
        for driver in stated_reasons(schema, answer.contributions, answer.points, values, typical, _DRIVERS_MAX)
    ]


def _flat_json(path: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    """Yield the path and value of every leaf of a JSON document; an empty list or object is a leaf."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _flat_json(f"{path}.{name}", value[name])
    elif isinstance(value, list) and value:
        for position, element in enumerate(value):
            yield from _flat_json(f"{path}[{position}]", element)
    else:
        yield path, value if isinstance(value, float | int | str) else json.dumps(value)


def _compare(stored: Mapping[str, Scalar], again: Mapping[str, Scalar]) -> ReplayVerdict:
    """Return the verdict on stored and recomputed fields."""
    # A run does not record the runtime that scored it. If a field is not equal bit for bit, the runtime may be
    # different, so compare all fields again with the tolerance for a different runtime.
    verdict = compare_fields(stored, again, same_runtime=True)
    return verdict if isinstance(verdict, ReplayMatch) else compare_fields(stored, again, same_runtime=False)
