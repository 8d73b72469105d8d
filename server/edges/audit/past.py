"""Gives the recorded past to a replay: the decision, the bundle and the policy that made it, the features then."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

from grounds.audit.v1 import evidence_pb2 as ev
from models.model import Model
from models.schema import Schema
from server.decisions.assessment import SourcedValue
from server.decisions.policy import Policy, parse_policy
from server.edges.audit.lookup import DecisionLookup
from server.edges.audit.question import RecordedDecision, recorded
from server.edges.credit.servicer import inputs_of
from server.edges.explanations import feature_values
from server.errors import BundleNotReadable, BundleUnknown, PolicyRefused, RecordDamaged
from server.stores.catalog.bundle_cache import BundleCache
from server.stores.catalog.policies import PolicyStore
from server.stores.features import FeatureStore

Why: TypeAlias = "ev.UnavailableReason"


@lru_cache(maxsize=8)
def parsed(content: bytes) -> Policy:
    """Read a policy; an auditor asks for the same one again and again."""
    return parse_policy(content, "policy")


class ReplayUnavailable(Exception):
    """A replay cannot be made; `why` is for programs, the message for people."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class ReplaySources:
    """Looks up what a decision was made from. Every method raises NotAvailable where it is gone."""

    def __init__(self, shelf: BundleCache, policies: PolicyStore, features: FeatureStore) -> None:
        self.shelf, self.policies, self.features = shelf, policies, features

    def decision(self, found: DecisionLookup) -> RecordedDecision:
        """Decode the record."""
        if found.body is not None:
            return recorded(found.body)
        if found.damage:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_RECORD_DAMAGED, found.damage)
        told = "the customer was erased, or retention removed the record's body"
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_INPUT_ERASED, told)

    def model(self, past: RecordedDecision) -> Model:
        """Open the bundle that decided."""
        try:
            return self.shelf.open_model(past.body.bundle_id)
        except (BundleUnknown, BundleNotReadable) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)) from error

    def policy(self, past: RecordedDecision) -> Policy:
        """Read the policy that decided."""
        try:
            content = self.policies.find(past.body.policy_sha256)
            if content is None:
                raise ReplayUnavailable(ev.UNAVAILABLE_REASON_POLICY_MISSING, "the policy file was not kept")
            return parsed(content)
        except (RecordDamaged, PolicyRefused) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_POLICY_MISSING, str(error)) from error

    def inputs_then(self, past: RecordedDecision, schema: Schema) -> Mapping[str, SourcedValue]:
        """Give what the request and the feature store say today of the time as of which the features were fed."""
        known = [given for given in past.inputs().values() if given.source == "STORE"]
        stored = None
        if known:
            as_of, customer = known[0].as_of, past.request.customer
            assert as_of is not None, "what the store gives has a time"
            stored = self.features.find_at(customer.market, customer.customer_id, schema, as_of)
            if stored is None:
                told = f"the feature store has no row of this customer as of {as_of.isoformat()} any more"
                raise ReplayUnavailable(ev.UNAVAILABLE_REASON_FEATURES_MISSING, told)
        return inputs_of(schema, stored, feature_values(past.request.features))
