"""The evidence of one decision, put together from the record, the bundle, the policy and the proof."""

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.export import StoredRecord
from models.catalog import CatalogEntry
from models.schema import Schema
from server.edges.audit.lookup import DecisionLookup, find_decision
from server.edges.audit.proofs import inclusion_message, newest_inclusion
from server.edges.audit.readings import Reading, ReadingRecorder
from server.edges.credit.events import events_after
from server.edges.credit.servicer import FAMILY
from server.edges.model.servicer import model_message
from server.edges.thread_pool import StoreThreads
from server.errors import RecordDamaged
from server.registry.model_registry import ModelRegistry
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Snapshot
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import InclusionHashes, ProofReader, inclusion_from_hashes
from server.stores.record_log.record_reader import RecordReader


class DecisionEvidenceReader:
    """Gives evidence, and has it recorded that it did."""

    def __init__(
        self,
        readings: ReadingRecorder,
        log: RecordLog,
        proofs: ProofReader,
        sources: tuple[PolicyStore, "BundleEvidenceCache"],
        threads: StoreThreads,
    ) -> None:
        self.readings, self.log, self.proofs, self.threads = readings, log, proofs, threads
        self.policies, self.bundles = sources

    async def give(self, request: pb.GetEvidenceRequest) -> pb.GetEvidenceResponse:
        """Give the evidence, once the reading is durable; the tree that proves the decision has the reading in it."""
        decision_id = request.decision_id.lower()
        evidence, stored, branch = await self.threads.run(self.at_one_moment, decision_id)
        evidence.reading.CopyFrom(await self.readings.record(Reading(decision_id, "GetEvidence", request.purpose)))
        proof = self.proof_now(stored, branch)
        if proof is None:
            proof = await self.threads.run(newest_inclusion, self.proofs, decision_id)
        evidence.proof.CopyFrom(proof)
        return pb.GetEvidenceResponse(evidence=evidence)

    def at_one_moment(self, decision_id: str) -> tuple[pb.Evidence, StoredRecord, InclusionHashes]:
        """Read the decision and what came after it, of one moment; nobody has seen any of it yet."""
        frontier = self.log.last_frontier  # of a moment before
        with self.log.database.snapshot() as then:
            records, proofs = RecordReader(then, self.log.key_store), ProofReader(then, self.proofs.cache)
            found = find_decision(records, decision_id)
            if found.damage:
                raise RecordDamaged(found.damage, decision_id=decision_id)
            assert found.stored is not None, "what is not damaged was read"
            evidence = self.evidence(decision_id, found, records)
            self.add_policy(evidence, then)
            return evidence, found.stored, proofs.read_inclusion_hashes(found.stored.index, frontier)

    def proof_now(self, stored: StoredRecord, branch: InclusionHashes) -> pb.GetInclusionProofResponse | None:
        """Prove a record in the tree that this process last left; None where the database has to be asked."""
        frontier = self.log.last_frontier
        hashes = inclusion_from_hashes(frontier, stored.index, branch)
        if hashes is None:
            return None
        return inclusion_message(stored, frontier.size, hashes, self.log.sign_checkpoint(frontier))

    def evidence(self, decision_id: str, found: DecisionLookup, records: RecordReader) -> pb.Evidence:
        """Put together what is read before the reading is recorded."""
        evidence = pb.Evidence(
            decision_id=decision_id,
            body_state=evidence_pb2.BODY_STATE_ERASED,
            verifier_key=self.log.verifier.text(),
        )
        body = found.body
        if body is None or found.kept is None:
            return evidence
        overrides, outcomes = events_after(records, found.kept)
        evidence.overrides.extend(overrides)
        evidence.outcomes.extend(outcomes)
        evidence.body_state = evidence_pb2.BODY_STATE_READABLE
        evidence.record.CopyFrom(body)
        evidence.request.CopyFrom(credit_pb2.ScoreCreditRequest.FromString(body.request))
        evidence.decision.CopyFrom(credit_pb2.CreditDecision.FromString(body.answer))
        if bundle := self.bundles.of(FAMILY, body.bundle_id):
            evidence.bundle.CopyFrom(bundle)
        return evidence

    def add_policy(self, evidence: pb.Evidence, then: Snapshot) -> None:
        """Add the policy that decided; one that was not kept, or not kept well, stays absent."""
        body = evidence.record
        try:
            content = self.policies.find(body.policy_sha256, then) if body.policy_sha256 else None
        except RecordDamaged:
            return
        if content is not None:
            found = pb.PolicyEvidence(version=body.policy_version, sha256=body.policy_sha256, content=content)
            evidence.policy.CopyFrom(found)


class BundleEvidenceCache:
    """Bundles as evidence tells of them, each written once for as long as it and where it serves stay the same."""

    def __init__(self, lineup: ModelRegistry) -> None:
        self.lineup = lineup
        self.written: dict[str, tuple[CatalogEntry, list[str], pb.BundleEvidence]] = {}

    def schema(self, family: str, bundle_id: str) -> Schema | None:
        """Give the names and levels of a bundle's features; None where the catalog does not have it, or not whole."""
        entry = self.lineup.current.entries.get((family, bundle_id))
        return entry.bundle.schema if entry and entry.bundle else None

    def of(self, family: str, bundle_id: str) -> pb.BundleEvidence | None:
        """Give a bundle; None where the catalog does not have it, or not whole."""
        lineup = self.lineup.current
        entry, serving = lineup.entries.get((family, bundle_id)), lineup.markets_of(bundle_id)
        if entry is None or entry.bundle is None:
            return None
        known = self.written.get(bundle_id)
        if known is None or known[0] is not entry or known[1] != serving:
            manifest = entry.bundle.manifest
            told = pb.BundleEvidence(
                model=model_message(lineup, entry, entry.bundle), files=manifest.files, made_from=manifest.made_from
            )
            self.written[bundle_id] = known = entry, serving, told
        return known[2]
