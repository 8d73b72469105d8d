"""The question of a recorded decision, as it was put to model and policy."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2 as pb
from grounds.credit.v1 import credit_pb2
from grounds.explain.v1 import explain_pb2
from models.schema import FeatureInput, Schema
from server.decisions.assessment import CreditQuestion, SourcedValue
from server.decisions.policy import STANDARD, Policy, PolicySection
from server.edges.explanations import feature_values
from server.edges.money import amount_from_money


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision as it was recorded, decoded."""

    body: pb.DecisionRecord
    request: credit_pb2.ScoreCreditRequest
    decision: credit_pb2.CreditDecision

    def inputs(self) -> dict[str, SourcedValue]:
        """Give the values that were known, by feature."""
        return {line.feature: input_of(line) for line in self.body.features if line.HasField("value")}

    def section(self, policy: Policy) -> PolicySection | None:
        """Give the section of the policy that held on that day."""
        day = time_of(self.body.decide_time).date()
        return policy.section(self.request.customer.market, self.request.product or STANDARD, day)

    def question(self, section: PolicySection, inputs: Mapping[str, SourcedValue]) -> CreditQuestion:
        """Put the question again."""
        request = self.request
        at, amount = time_of(self.body.decide_time), amount_from_money(request.requested_amount)
        return CreditQuestion(section, inputs, feature_values(request.facts), amount, at, request.locale)


def recorded(body: pb.DecisionRecord) -> RecordedDecision:
    """Decode what is in a record."""
    return RecordedDecision(
        body,
        credit_pb2.ScoreCreditRequest.FromString(body.request),
        credit_pb2.CreditDecision.FromString(body.answer),
    )


def input_of(line: pb.FedFeature) -> SourcedValue:
    """Read one value."""
    as_of = time_of(line.as_of_time) if line.HasField("as_of_time") else None
    source = "STORE" if line.source == explain_pb2.VALUE_SOURCE_STORE else "CALLER"
    return SourcedValue(value_of(line.value), source, as_of)  # type: ignore[arg-type]


def value_of(value: explain_pb2.FeatureValue) -> FeatureInput:
    """Read a number, or the name of a level."""
    return value.level if value.WhichOneof("kind") == "level" else value.number


def fitting(schema: Schema, inputs: Mapping[str, SourcedValue]) -> dict[str, SourcedValue]:
    """Give the values that another model knows too, and takes as they are."""
    kinds = {feature.name: feature.kind for feature in schema.features}
    return {
        name: given
        for name, given in inputs.items()
        if name in kinds and isinstance(given.value, str) == (kinds[name] == "category")
    }


def time_of(stamp: Timestamp) -> dt.datetime:
    """Read a time."""
    return stamp.ToDatetime(tzinfo=dt.UTC)
