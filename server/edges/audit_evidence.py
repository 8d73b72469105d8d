"""The evidence of one decision, put together from the record, the bundle, the policy and the proof."""

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2
from models.catalog import Entry
from server.edges.audit_proofs import record_message
from server.edges.audit_readings import Found, Reading, Readings
from server.edges.events import after
from server.edges.models import model_message
from server.edges.threads import Threads
from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged
from server.stores.lineup import Lineup, LineupWatch
from server.stores.policies import PolicyStore
from server.stores.proofs import Proofs
from server.stores.records import RecordLog
from server.stores.shelf import Shelf

Sources = tuple[Shelf, PolicyStore, LineupWatch]


class EvidenceDesk:
    """Gives evidence, and has it recorded that it did."""

    def __init__(self, readings: Readings, log: RecordLog, proofs: Proofs, sources: Sources, threads: Threads) -> None:
        self.readings, self.log, self.proofs, self.threads = readings, log, proofs, threads
        self.shelf, self.policies, self.lineup = sources

    async def give(self, request: pb.GetEvidenceRequest) -> pb.GetEvidenceResponse:
        """Give the evidence, once the reading is durable."""
        decision_id = request.decision_id.lower()
        found = await self.readings.find(decision_id)
        if found.damage:
            raise RecordDamaged(found.damage, decision_id=decision_id)
        reading = await self.readings.record(Reading(decision_id, "GetEvidence", request.purpose))
        evidence = await self.threads.run(self.evidence, decision_id, found)
        evidence.reading.CopyFrom(reading)
        return pb.GetEvidenceResponse(evidence=evidence)

    def evidence(self, decision_id: str, found: Found) -> pb.Evidence:
        """Put it together."""
        proof, verifier_key = inclusion(self.proofs, decision_id)
        evidence = pb.Evidence(
            decision_id=decision_id,
            body_state=evidence_pb2.BODY_STATE_ERASED,
            proof=proof,
            verifier_key=verifier_key,
        )
        body = found.body
        if body is None or found.kept is None:
            return evidence
        overrides, outcomes = after(self.log, found.kept)
        evidence.overrides.extend(overrides)
        evidence.outcomes.extend(outcomes)
        evidence.body_state = evidence_pb2.BODY_STATE_READABLE
        evidence.record.CopyFrom(body)
        evidence.request.CopyFrom(credit_pb2.ScoreCreditRequest.FromString(body.request))
        evidence.decision.CopyFrom(credit_pb2.CreditDecision.FromString(body.answer))
        if bundle := bundle_evidence(self.shelf, self.lineup.now, body.bundle_id):
            evidence.bundle.CopyFrom(bundle)
        self.add_policy(evidence, body)
        return evidence

    def add_policy(self, evidence: pb.Evidence, body: pb.DecisionRecord) -> None:
        """Add the policy that decided; one that was not kept, or not kept well, stays absent."""
        try:
            content = self.policies.of(body.policy_sha256)
        except RecordDamaged:
            return
        if content is not None:
            found = pb.PolicyEvidence(version=body.policy_version, sha256=body.policy_sha256, content=content)
            evidence.policy.CopyFrom(found)


def inclusion(proofs: Proofs, record_id: str) -> tuple[pb.GetInclusionProofResponse, str]:
    """Prove a record in the tree of the newest checkpoint; gives the log's public key too."""
    head, record, hashes = proofs.newest_inclusion(record_id)
    proof = pb.GetInclusionProofResponse(
        record=record_message(record), tree_size=head.size, hashes=hashes, checkpoint=head.checkpoint
    )
    return proof, head.verifier_key


def bundle_evidence(shelf: Shelf, lineup: Lineup, bundle_id: str) -> pb.BundleEvidence | None:
    """Give the bundle that decided; None where it cannot be read."""
    try:
        bundle = shelf.model(bundle_id).bundle
    except (BundleUnknown, BundleNotReadable):
        return None
    message = model_message(lineup, Entry(shelf.family, bundle_id, bundle, ""), bundle)
    return pb.BundleEvidence(model=message, files=bundle.manifest.files, made_from=bundle.manifest.made_from)
