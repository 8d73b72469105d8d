"""What would bring a customer to the approve cut-off, as the contract says it."""

from grounds.credit.v1 import credit_pb2 as pb
from grounds.explain.v1.explain_pb2 import FeatureValue
from models.model import Model
from models.recourse import Counterfactual, Recourse
from server.decisions.assessment import Assessment


class RecourseFinder:
    """The search of each bundle that was asked for, made once. May be shared between threads."""

    def __init__(self) -> None:
        self.searches: dict[str, Recourse] = {}

    def of(self, assessment: Assessment) -> pb.Recourse:
        """Search ways for what was assessed; takes some ten milliseconds."""
        score, cut_off = assessment.score, assessment.section.approve_max_pd
        if score is None:
            return pb.Recourse(status=pb.RECOURSE_STATUS_NOT_SCORABLE)
        if score.pd <= cut_off:
            return pb.Recourse(status=pb.RECOURSE_STATUS_NOT_NEEDED)
        values = {name: given.value for name, given in assessment.inputs.items()}
        found = self.search(assessment.model).search(values, cut_off).counterfactuals
        status = pb.RECOURSE_STATUS_FOUND if found else pb.RECOURSE_STATUS_NO_RECOURSE_FOUND
        return pb.Recourse(status=status, counterfactuals=map(counterfactual_message, found))

    def search(self, model: Model) -> Recourse:
        """Give a model's search; two threads that make it at once make the same."""
        bundle_id = model.bundle.bundle_id
        if bundle_id not in self.searches:
            self.searches[bundle_id] = Recourse(model)
        return self.searches[bundle_id]


def counterfactual_message(found: Counterfactual) -> pb.Counterfactual:
    """Write one way."""
    changes = [
        pb.FeatureChange(
            feature=change.feature,
            current=FeatureValue(number=change.before),
            proposed=FeatureValue(number=change.after),
        )
        for change in found.changes
    ]
    return pb.Counterfactual(changes=changes, pd=found.pd, score=found.score)
