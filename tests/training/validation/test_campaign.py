"""Campaign metrics equal values computed by hand or by scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from training.fitting.rivals import purchase_histories, rival_pds
from training.measures.bg_nbd import fit_bg_nbd
from training.scoring.campaign import in_hold_out
from training.sources.samples import Samples
from training.spec import CampaignSpec, ProfitSpec, RivalSpec
from training.validation.campaign import measure_campaign
from training.validation.scored_sample import ScoredSample

PROFIT = ProfitSpec(clv=200, offer_cost=10, contact_cost=1, acceptance_alpha=6, acceptance_beta=14)


def example_sample(seed: int = 0) -> tuple[ScoredSample, NDArray[np.float64]]:
    """Return 4 snapshots of 150 customers, and the pds of a rival that ranks the last two snapshots worse."""
    random = np.random.default_rng(seed)
    periods = np.repeat(["2025-01-01", "2025-02-01", "2025-04-01", "2025-05-01"], 150)
    parts = np.repeat(["FIT", "CALIBRATION", "HOLD_OUT", "HOLD_OUT"], 150)
    pds = np.round(random.beta(1, 4, 600), 2)
    labels = (random.random(600) < pds).astype(np.int64)
    rows = pd.DataFrame({"market": "DE", "customer_id": np.tile(np.arange(150), 4).astype(str), "period": periods})
    rows = rows.assign(sample=parts, as_of=pd.to_datetime(periods, utc=True))
    sample = ScoredSample(rows, labels, pds, -pds, np.full(600, "A"))
    return sample, np.clip(pds[300:] + random.normal(0, 0.2, 300), 0, 1)


def test_auc_lift_and_capture_equal_those_counted_row_by_row() -> None:
    sample, rival = example_sample()

    found = measure_campaign(CampaignSpec(capacity=20, profit=PROFIT), sample, {"rival": rival}, [])

    labels = sample.labels[300:]
    for pds, one in ((sample.pds[300:], found.model), (rival, found.rivals["rival"])):
        assert one.auc is not None
        assert one.auc.estimate == pytest.approx(roc_auc_score(labels, pds))
        assert one.auc.low < one.auc.estimate < one.auc.high
        assert one.pr_auc == pytest.approx(average_precision_score(labels, pds))
        assert one.profit is not None
    # The pds of the rival have no ties, so its 20 riskiest customers of each snapshot are unambiguous.
    first = [
        half[np.argsort(-own)[:20]].sum() for half, own in zip(np.split(labels, 2), np.split(rival, 2), strict=True)
    ]
    assert found.rivals["rival"].capture_rate == pytest.approx(sum(first) / labels.sum())
    top = labels[np.argsort(-rival)[:30]].mean()
    assert found.rivals["rival"].lift == pytest.approx(top / labels.mean())


def test_every_snapshot_is_measured_separately_with_its_part() -> None:
    sample, _ = example_sample()

    snapshots = measure_campaign(CampaignSpec(), sample, {}, []).snapshots

    assert [(snapshot.period, snapshot.part) for snapshot in snapshots] == [
        ("2025-01-01", "FIT"),
        ("2025-02-01", "CALIBRATION"),
        ("2025-04-01", "HOLD_OUT"),
        ("2025-05-01", "HOLD_OUT"),
    ]
    assert [snapshot.bad_rate.value for snapshot in snapshots] == [
        float(part.mean()) for part in np.split(sample.labels, 4)
    ]
    assert all(snapshot.auc is not None and snapshot.auc.low < snapshot.auc.high for snapshot in snapshots)


def test_a_metric_without_its_setting_in_the_spec_is_not_measured_and_a_remark_says_so() -> None:
    sample, rival = example_sample()
    remarks: list[str] = []

    found = measure_campaign(CampaignSpec(), sample, {"rival": rival}, remarks)

    assert (found.model.profit, found.model.capture_rate) == (None, None)
    assert [remark.split(":")[0] for remark in remarks] == ["EMPC", "capture at the sales team's capacity"]


def test_bg_nbd_is_fitted_to_all_customers_and_predicts_each_customers_horizon() -> None:
    random = np.random.default_rng(1)
    histories = []
    for _ in range(500):  # BG/NBD customers: each has a purchase rate and a probability of leaving after a purchase
        tenure, rate, leaves = random.integers(60, 300), random.gamma(1.0, 0.08), random.beta(1.0, 8.0)
        days = [0.0]
        while random.random() > leaves and (day := days[-1] + random.exponential(1.0 / rate) + 1.0) < tenure:
            days.append(np.floor(day))
        histories.append((len(days), tenure - days[-1], tenure))
    days, recency, tenure = np.array(histories, dtype=np.float64).T
    everyone = pd.DataFrame({"purchase_days": days, "recency_days": recency, "tenure_days": tenure})
    test = everyone.head(50).assign(horizon_days=[14, 40] * 25)
    samples = Samples(everyone, (), (), "", {}, everyone)

    pds = rival_pds(RivalSpec(name="BG/NBD", kind="bg_nbd"), {}, samples, test)

    fitted = fit_bg_nbd(purchase_histories(everyone))
    short, long = (fitted.no_purchase_probabilities(purchase_histories(test), horizon) for horizon in (14.0, 40.0))
    assert pds.tolist() == np.where(test["horizon_days"] == 14, short, long).tolist()


def test_campaigns_hold_out_independent_shares_of_customers() -> None:
    names = [f"C{number}" for number in range(4000)]
    spring, autumn = (
        [in_hold_out(CampaignSpec(name=name, hold_out_share=0.1), "DE", one) for one in names] for name in ("a", "b")
    )

    assert np.mean(spring) == pytest.approx(0.1, abs=0.015)
    assert np.mean(np.array(spring) & np.array(autumn)) == pytest.approx(0.01, abs=0.006)
    assert [in_hold_out(CampaignSpec(name="a", hold_out_share=0.1), "DE", one) for one in names] == spring
    assert not any(in_hold_out(CampaignSpec(hold_out_share=0.0), "DE", one) for one in names)
