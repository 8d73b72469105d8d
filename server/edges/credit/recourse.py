"""Recourse: finds the smallest changes to an application's features with which it would reach the approve cut-off."""

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from models.model import Model
from models.recourse import Counterfactual, Recourse
from server.decisions.assessment import Assessment


class RecourseFinder:
    """Finds counterfactuals, and caches one prepared search per bundle. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._searches: dict[str, Recourse] = {}

    def find(self, assessment: Assessment, pd_max: float | None = None) -> pb.Recourse:
        """Return the smallest changes with which the PD is low enough. A search takes about 10 ms.

        Args:
            assessment: The assessment of the application.
            pd_max: The PD to reach; None for the approve cut-off of the policy.
        """
        score, cut_off = assessment.score, assessment.section.approve_max_pd if pd_max is None else pd_max
        if score is None:
            return pb.Recourse(status=pb.RECOURSE_STATUS_NOT_SCORABLE)
        if score.pd <= cut_off:
            return pb.Recourse(status=pb.RECOURSE_STATUS_NOT_NEEDED)
        values = {name: given.value for name, given in assessment.inputs.items()}
        found = self._search(assessment.model).search(values, cut_off).counterfactuals
        status = pb.RECOURSE_STATUS_FOUND if found else pb.RECOURSE_STATUS_NO_RECOURSE_FOUND
        return pb.Recourse(status=status, counterfactuals=map(_counterfactual_message, found))

    def _search(self, model: Model) -> Recourse:
        """Return the prepared search of a model.

        No lock is needed: if two threads prepare the same search, their results are equal, and the cache keeps either
        one.
        """
        bundle_id = model.bundle.bundle_id
        if bundle_id not in self._searches:
            self._searches[bundle_id] = Recourse(model)
        return self._searches[bundle_id]


def _counterfactual_message(counterfactual: Counterfactual) -> pb.Counterfactual:
    """Build the message of a counterfactual."""
    changes = [
        pb.FeatureChange(
            feature=change.feature,
            current=FeatureValue(number=change.before),
            proposed=FeatureValue(number=change.after),
        )
        for change in counterfactual.changes
    ]
    return pb.Counterfactual(changes=changes, pd=counterfactual.pd, score=counterfactual.score)
