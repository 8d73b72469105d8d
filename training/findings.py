"""What training finds out about a model, on rows that nothing before has looked at."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.documents import Scorecard
from models.scorecard import log_odds_of, pd_of
from models.scoring import Scorer
from training.evaluate import Quality, quality, rival_pds
from training.gate.examine import Verdict
from training.samples import Samples, label_of
from training.search import cross_validated_auc, fixed_parameters
from training.spec import Spec


@dataclass(frozen=True, slots=True)
class Exported:
    """What is judged: the exported files with their calibration, and how they were come by."""

    scorer: Scorer
    card: Scorecard
    parameters: Mapping[str, Any]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Findings:
    """What training found out, for people.

    Attributes:
        parameters: The search's choice.
        test: Quality on the hold-out (or the pooled test snapshots).
        periods: The same by snapshot; empty for a table.
        rivals: Quality of the simpler rules on the same rows.
        cross_validation: Mean AUC with and without the sign table; empty where the spec asks for none.
        verdict: What the release gate examined.
    """

    parameters: Mapping[str, Any]
    test: Quality
    periods: Mapping[str, Quality]
    rivals: Mapping[str, Quality]
    cross_validation: Mapping[str, float]
    verdict: Verdict


def measure(spec: Spec, samples: Samples, exported: Exported, threads: int) -> Findings:
    """Judge the exported files, not the booster, on the test rows, and the rivals on the same rows."""
    test = samples.part("HOLD_OUT")
    margins = exported.scorer.margins(samples.features(test)).tolist()
    pds = np.array([pd_of(log_odds_of(exported.card, margin)) for margin in margins])
    labels, periods = label_of(test), test["period"].to_numpy()
    return Findings(
        parameters=exported.parameters,
        test=quality(labels, pds),
        periods={p: quality(labels[periods == p], pds[periods == p]) for p in sorted(set(periods)) if p},
        rivals={rival.name: quality(labels, rival_pds(rival, samples, test)) for rival in spec.rivals},
        cross_validation=cross_validation(spec, samples, exported.parameters, threads),
        verdict=exported.verdict,
    )


def cross_validation(spec: Spec, samples: Samples, parameters: Mapping[str, Any], threads: int) -> dict[str, float]:
    """Give the cross-validated AUC with the sign table and without it; nothing where the spec asks for none."""
    if not spec.cross_validation_folds:
        return {}
    signs = tuple(feature.sign for feature in spec.features)
    return {
        name: cross_validated_auc(
            fixed_parameters(constraints, threads) | dict(parameters), samples, spec.cross_validation_folds
        )
        for name, constraints in (("signed", signs), ("unsigned", (0,) * len(signs)))
    }


def metrics_of(findings: Findings) -> dict[str, float]:
    """Give every figure a name for metrics.json."""
    named = {"hold_out": findings.test}
    named |= {f"hold_out.{period}": found for period, found in findings.periods.items()}
    named |= {f"rival.{name}": found for name, found in findings.rivals.items()}
    figures = {f"{name}.{what}": float(value) for name, found in named.items() for what, value in asdict(found).items()}
    figures |= {f"cross_validation.{name}.auc": auc for name, auc in findings.cross_validation.items()}
    figures |= {f"gate.{kind.kind}.rows".replace(" ", "_"): float(kind.rows) for kind in findings.verdict.kinds}
    return figures
