"""Replay of churn predictions: fields that are compared or left out, and the tolerance for another runtime."""

import dataclasses
import json
import math
from typing import Any

import pytest

from server.decisions.churn_replay import (
    LEFT_OUT_AMOUNTS,
    LEFT_OUT_DECLINE,
    LEFT_OUT_TEXTS,
    StoredRisk,
    _recompute_band,
    compare_explanation,
    compare_score,
    recompute_explanation,
)
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch, ReplayRuntimeDiffers
from tests.server.churn_runs import BANDS, FIRST, MARGIN, ChurnFamily, run_manifest, scored_rows


@pytest.fixture(scope="module")
def kept(churn_family: ChurnFamily) -> StoredRisk:
    """Return the stored row of a customer with drivers."""
    rows = scored_rows(churn_family.model, churn_family.customers.head(20), FIRST)
    row = next(each for each in rows.to_dict("records") if each["drivers"] != "[]")
    return StoredRisk(
        log_odds=row["log_odds"],
        pd=row["pd"],
        band=next(band for band, bound in BANDS if row["pd"] <= bound),
        had_same_band=False,
        decline_pd=None,
        features=[math.nan if value is None else value for value in row["features"]],
        contributions=row["contributions"],
        drivers=row["drivers"],
        manifest=run_manifest(churn_family.model, rows),
    )


def replay_score(family: ChurnFamily, kept: StoredRisk, decline: Any = None) -> tuple[Any, str]:
    """Return the verdict of a replay in mode SCORE, and what the replay left out."""
    return compare_score(kept, recompute_explanation(family.model, kept), decline)


def replay_explanation(family: ChurnFamily, kept: StoredRisk) -> tuple[Any, str]:
    """Return the verdict of a replay in mode EXPLANATION, and what the replay left out."""
    return compare_explanation(kept, recompute_explanation(family.model, kept), family.model)


def test_the_stored_row_replays(churn_family: ChurnFamily, kept: StoredRisk) -> None:
    assert replay_score(churn_family, kept) == (ReplayMatch(3), LEFT_OUT_AMOUNTS)
    verdict, left_out = replay_explanation(churn_family, kept)

    drivers = json.loads(kept.drivers)
    lines = sum(2 + len(each["features"]) + len(each["texts"]) for each in drivers)
    assert (verdict, left_out) == (ReplayMatch(2 + len(kept.contributions) + lines), "")


def test_a_difference_in_the_last_bit_is_runtime_differs_and_a_larger_one_a_mismatch(
    churn_family: ChurnFamily, kept: StoredRisk
) -> None:
    near, _ = replay_score(churn_family, dataclasses.replace(kept, pd=math.nextafter(kept.pd, 1.0)))
    far, _ = replay_score(churn_family, dataclasses.replace(kept, log_odds=kept.log_odds + 1e-8))

    assert isinstance(near, ReplayRuntimeDiffers)
    assert (near.differing, near.compared) == (1, 3)
    assert isinstance(far, ReplayMismatch)
    assert far.field == "log_odds"


def test_the_decline_probability_is_compared_if_its_bundle_and_features_are_here(
    churn_family: ChurnFamily, kept: StoredRisk
) -> None:
    """The churn bundle is also used as the decline bundle, so that its answer is known."""
    right, wrong = dataclasses.replace(kept, decline_pd=kept.pd), dataclasses.replace(kept, decline_pd=0.5)

    assert replay_score(churn_family, right, churn_family.model) == (ReplayMatch(4), LEFT_OUT_AMOUNTS)
    assert replay_score(churn_family, wrong, churn_family.model)[0].field == "decline.pd"
    assert replay_score(churn_family, wrong) == (ReplayMatch(3), f"{LEFT_OUT_DECLINE}; {LEFT_OUT_AMOUNTS}")
    fewer = kept.names[1:]
    less = dataclasses.replace(wrong, manifest={**kept.manifest, "feature_names": fewer}, features=kept.features[1:])
    answer = recompute_explanation(churn_family.model, kept)
    assert compare_score(less, answer, churn_family.model)[1] == f"{LEFT_OUT_DECLINE}; {LEFT_OUT_AMOUNTS}"


def test_the_previous_band_is_kept_within_the_margin_only(churn_family: ChurnFamily, kept: StoredRisk) -> None:
    """The bound is just below the customer's log-odds, so the threshold alone would lead to MEDIUM."""
    odds = kept.log_odds
    answer = recompute_explanation(churn_family.model, kept)
    for distance, held in ((MARGIN * 0.9, "LOW"), (MARGIN * 1.1, "MEDIUM")):
        bound = 1 / (1 + math.exp(-(odds - distance)))
        bands = [{"band": "LOW", "max_pd": bound}, {"band": "MEDIUM", "max_pd": 1.0}]
        manifest = {**kept.manifest, "bands": bands}
        stayed = dataclasses.replace(kept, manifest=manifest, band="LOW", had_same_band=True)
        moved = dataclasses.replace(stayed, had_same_band=False)

        assert _recompute_band(stayed, answer) == held
        assert _recompute_band(moved, answer) == "MEDIUM"


@pytest.mark.parametrize("change", ["code", "log_odds", "features", "texts", "gone"])
def test_drivers_are_compared_with_their_texts(churn_family: ChurnFamily, kept: StoredRisk, change: str) -> None:
    drivers = json.loads(kept.drivers)
    if change == "gone":
        drivers.clear()
    elif change == "texts":
        drivers[0]["texts"]["de"] += "!"
    else:
        drivers[0][change] = {"code": "OTHER", "log_odds": 9.0, "features": ["other"]}[change]

    verdict, _ = replay_explanation(churn_family, dataclasses.replace(kept, drivers=json.dumps(drivers)))

    assert verdict.field.startswith("drivers" if change == "gone" else f"drivers[0].{change}")


def test_contributions_and_baseline_are_compared(churn_family: ChurnFamily, kept: StoredRisk) -> None:
    first, *others = kept.contributions
    moved = dataclasses.replace(kept, contributions=[first + 1e-6, *others])
    other = dataclasses.replace(kept, manifest={**kept.manifest, "baseline_sha256": "0" * 64})

    assert replay_explanation(churn_family, moved)[0].field == f'contributions["{kept.names[0]}"]'
    assert replay_explanation(churn_family, other)[0].field == "baseline_sha256"
    assert replay_explanation(churn_family, dataclasses.replace(kept, drivers="{"))[1] == LEFT_OUT_TEXTS
