"""A model that fails a release gate of its spec is not released. The error lists the failed gate."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from models.onnx_scorer import Scorer
from tests.conftest import Released
from tests.small import SPEC, SmallFamily, made_customers, write_small_family
from tests.training.candidates import credit_family, evaluate_candidate, read_candidate, with_sign
from training.errors import ModelRejected
from training.evaluation.metrics import named_metrics
from training.evaluation.release_gates import GateResult, evaluate_gates, require_passed
from training.sources.samples import hash_bucket
from training.sources.table import read_table_samples
from training.spec import DEFAULT_GATES, GateSpec, read_spec


class FlippedScorer(Scorer):
    """A scorer that returns margins with the wrong sign."""

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return -super().margins(rows)


def failed_metrics(results: tuple[GateResult, ...]) -> set[str]:
    """Return the metrics whose gates failed."""
    return {result.figure for result in results if not result.passed}


def test_the_error_lists_every_failed_gate_with_its_value_and_bound() -> None:
    gates = [
        GateSpec(figure="hold_out.auc", min=0.8),
        GateSpec(figure="calibration.slope", min=0.9, max=1.1),
        GateSpec(figure="hold_out.brier", max=1),
    ]

    results = evaluate_gates(gates, {"hold_out.auc": 0.7512, "calibration.slope": 1.2})

    with pytest.raises(ModelRejected) as error:
        require_passed(results)
    assert [result.passed for result in results] == [False, True, False, False]
    assert "3 of 4 gates failed; the model is not released" in str(error.value)
    assert "hold_out.auc is 0.7512; it must be at least 0.8000" in str(error.value)
    assert "calibration.slope is 1.2000; it must be at most 1.1000" in str(error.value)
    assert "hold_out.brier was not measured; it must be at most 1" in str(error.value)


def test_a_metric_must_exceed_every_matching_metric_of_a_rival_by_the_margin() -> None:
    figures = {"hold_out.auc": 0.78, "rival.a.auc": 0.78, "rival.b.auc": 0.77, "rival.b.gini": 0.9}

    not_below = evaluate_gates([GateSpec(figure="hold_out.auc", not_below="rival.*.auc")], figures)
    ahead = evaluate_gates([GateSpec(figure="hold_out.auc", not_below="rival.*.auc", ahead_by=0.005)], figures)

    assert [result.passed for result in not_below] == [True, True]
    assert [result.passed for result in ahead] == [False, True]
    assert not evaluate_gates([GateSpec(figure="hold_out.auc", not_below="rival.none.auc")], figures)[0].passed


def test_a_rival_that_was_not_measured_fails_the_gate() -> None:
    gate, rivals = GateSpec(figure="hold_out.auc", not_below="rival.*.auc"), ["a", "b [old]", "c.d"]
    figures = {"hold_out.auc": 0.78, "rival.a.auc": 0.7, "rival.b [old].auc": 0.7, "rival.c.d.auc": 0.7}

    assert all(result.passed for result in evaluate_gates([gate], figures, rivals))
    for gone in rivals:
        left = {name: value for name, value in figures.items() if name != f"rival.{gone}.auc"}
        results = evaluate_gates([gate], left, rivals)
        assert [result.passed for result in results] == [True, True, False]
        assert str(results[-1]).endswith(f"not below rival.{gone}.auc, which was not measured")
    of_one = GateSpec(figure="hold_out.auc", not_below="rival.a.auc")
    assert all(result.passed for result in evaluate_gates([of_one], {"hold_out.auc": 0.78, "rival.a.auc": 0.7}, rivals))


def test_a_gate_without_a_bound_is_invalid() -> None:
    with pytest.raises(ValidationError, match="set at least one of min, max and not_below"):
        GateSpec(figure="hold_out.auc")


def test_a_model_that_fails_a_gate_is_not_written(tmp_path: Path) -> None:
    gate = '[[gates]]\nfigure = "hold_out.auc"\nmin = 0.999\n'

    with pytest.raises(ModelRejected, match=r"hold_out\.auc is 0\.\d{4}; it must be at least 0\.9990"):
        write_small_family(tmp_path, SPEC + gate)

    assert not (tmp_path / "bundles").exists()


def test_the_default_gates_reject_a_model_whose_ranking_is_inverted_on_the_hold_out(tmp_path: Path) -> None:
    customers = made_customers()
    held_out = customers["number"].map(lambda number: hash_bucket(number, 5) == 0)
    customers["bad"] = customers["bad"].where(~held_out, 1 - customers["bad"])

    with pytest.raises(ModelRejected, match=r"hold_out\.auc is 0\.[0-4]"):
        write_small_family(tmp_path, SPEC, customers)

    assert not (tmp_path / "bundles").exists()


def test_a_score_with_the_wrong_sign_fails_the_default_gates(small: SmallFamily) -> None:
    spec, samples = read_table_samples(read_spec(small.spec), small.table)
    bundle = small.bundle()

    findings = evaluate_candidate(
        spec, samples, read_candidate(small.bundle_folder), scorer=FlippedScorer(bundle.score, bundle.explain)
    )

    results = evaluate_gates(DEFAULT_GATES, named_metrics(findings))
    assert failed_metrics(results) == {"hold_out.auc", "monotone.violations"}


def test_a_violated_monotone_constraint_fails_the_gate_of_the_credit_family(released: Released) -> None:
    spec, samples = credit_family()
    flipped = with_sign(spec, "LIMIT_BAL", 1)

    findings = evaluate_candidate(flipped, samples, read_candidate(released.bundle_folder("credit")))

    swept = {sweep.feature: sweep for sweep in findings.sweeps}
    assert swept["LIMIT_BAL"].violations > 900
    assert sum(sweep.violations for sweep in findings.sweeps) == swept["LIMIT_BAL"].violations
    assert failed_metrics(evaluate_gates(spec.gates, named_metrics(findings))) >= {"monotone.violations"}


def test_biased_pds_fail_the_gate_of_the_credit_family(released: Released) -> None:
    spec, samples = credit_family()
    exported = read_candidate(released.bundle_folder("credit"))
    bold = exported.card.model_copy(update={"intercept": exported.card.intercept - 0.3})

    findings = evaluate_candidate(spec, samples, exported, card=bold)

    assert "calibration.ece" in failed_metrics(evaluate_gates(spec.gates, named_metrics(findings)))
    assert findings.calibration.in_the_large is not None
    assert findings.calibration.in_the_large.z > 4
