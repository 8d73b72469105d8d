"""Evidence of a credit decision: its record, request, answer, events, bundle, policy and inclusion proof."""

from dataclasses import dataclass

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.export import StoredRecord
from grounds_record.header import parse_header
from models.catalog import CatalogEntry
from models.reasons import DEFAULT_LOCALE
from models.schema import Schema
from server.edges.audit.proofs import inclusion_message, newest_inclusion
from server.edges.audit.readings import Reading, ReadingRecorder
from server.edges.audit.recorded_policy import parse_recorded_policy
from server.edges.credit.events import read_events
from server.edges.credit.policy import section_message
from server.edges.explanations import time_from_timestamp
from server.edges.identity.callers import Caller
from server.edges.model.messages import model_message
from server.edges.thread_pool import StoreThreads
from server.errors import DecisionUnknown, PolicyRefused, RecordDamaged, RecordRemoved
from server.registry.model_registry import CREDIT_FAMILY, ModelRegistry
from server.stores.catalog.policies import PolicyStore
from server.stores.database import Snapshot
from server.stores.record_log.decision_index import CREDIT_DECISION
from server.stores.record_log.entries import Record
from server.stores.record_log.log import RecordLog
from server.stores.record_log.proofs import InclusionHashes, ProofReader, inclusion_from_hashes
from server.stores.record_log.record_reader import RecordReader


@dataclass(frozen=True, slots=True)
class DecisionLookup:
    """The record of a decision, or the parts of the record that can still be read.

    Attributes:
        body: The decoded body; None if the record cannot be decrypted.
        record: The decrypted record; None if the record cannot be decrypted.
        stored: The record as stored; None if the record is damaged.
        damage: The reason why the record cannot be read if it is damaged. It is "" if the record is intact, if the
            customer was erased, or if retention removed the body.
    """

    body: pb.DecisionRecord | None
    record: Record | None = None
    stored: StoredRecord | None = None
    damage: str = ""


def find_decision(records: RecordReader, decision_id: str, caller: Caller) -> DecisionLookup:
    """Find the record of a decision, even if the content of the record was removed or the record is damaged.

    Raises:
        DecisionUnknown: There is no such decision, or the caller may not ask about its market.
    """
    unknown = DecisionUnknown("decision_id: no decision has this id; check the id", decision_id=decision_id)
    try:
        found = records.find_stored(decision_id)
    except RecordRemoved as error:
        # The body can no longer be read, but the header still states the kind of the record.
        stored = records.read_stored(decision_id)
        header = parse_header(stored.header)
        if header.kind != CREDIT_DECISION or not caller.may_see(header.labels.get("market", "")):
            raise unknown from error
        return DecisionLookup(None, stored=stored)
    except RecordDamaged as error:
        if caller.markets is not None:  # the market of a damaged record is uncertain
            raise unknown from error
        return DecisionLookup(None, damage=str(error))
    if found is None or found[0].header.kind != CREDIT_DECISION:
        raise unknown
    record, stored = found
    if not caller.may_see(record.header.labels.get("market", "")):
        raise unknown
    return DecisionLookup(pb.DecisionRecord.FromString(record.body), record, stored)


class DecisionEvidenceReader:
    """Answers GetEvidence, and records every reading before it answers."""

    def __init__(
        self,
        *,
        readings: ReadingRecorder,
        log: RecordLog,
        proofs: ProofReader,
        policies: PolicyStore,
        bundles: "BundleEvidenceCache",
        threads: StoreThreads,
    ) -> None:
        self._readings, self._log, self._proofs, self._threads = readings, log, proofs, threads
        self._policies, self._bundles = policies, bundles

    async def read(self, request: pb.GetEvidenceRequest, caller: Caller) -> pb.GetEvidenceResponse:
        """Return the evidence of a decision, with a proof in a tree that includes the record of this reading.

        Raises:
            DecisionUnknown: There is no such decision, or the caller may not ask about its market.
            RecordDamaged: The record was changed after it was written.
            StoreUnavailable: The database does not answer, or the reading was not recorded.
        """
        decision_id = request.decision_id.lower()
        evidence, stored, hashes = await self._threads.run(self._read_snapshot, decision_id, caller)
        reading = Reading(caller.name, decision_id, "GetEvidence", request.purpose)
        evidence.reading.CopyFrom(await self._readings.record(reading))
        proof = self._prove_from_memory(stored, hashes)
        if proof is None:
            proof = await self._threads.run(newest_inclusion, self._proofs, decision_id)
        evidence.proof.CopyFrom(proof)
        return pb.GetEvidenceResponse(evidence=evidence)

    def _read_snapshot(self, decision_id: str, caller: Caller) -> tuple[pb.Evidence, StoredRecord, InclusionHashes]:
        """Read the decision, its events, its policy, and the hashes for the inclusion proof from one snapshot.

        `read` records the reading afterwards, and this record makes the tree grow. The proof in the larger tree needs
        the hashes that are read here, and hashes from the right edge of the tree, which this process has in memory.
        Therefore the proof usually needs no second query.
        """
        # Read the frontier before the snapshot, so that the tree of the frontier is a prefix of the snapshot's tree.
        frontier = self._log.last_frontier
        with self._log.database.snapshot() as snapshot:
            records, proofs = RecordReader(snapshot, self._log.key_store), ProofReader(snapshot, self._proofs.cache)
            found = find_decision(records, decision_id, caller)
            if found.damage:
                raise RecordDamaged(found.damage, decision_id=decision_id)
            assert found.stored is not None, "a record that is not damaged was read"
            evidence = self._evidence_message(decision_id, found, records)
            self._add_policy(evidence, snapshot)
            return evidence, found.stored, proofs.read_inclusion_hashes(found.stored.index, frontier)

    def _prove_from_memory(self, stored: StoredRecord, hashes: InclusionHashes) -> pb.GetInclusionProofResponse | None:
        """Prove a record in the newest tree of this process; return None if the proof needs more hashes."""
        frontier = self._log.last_frontier
        proof = inclusion_from_hashes(frontier, stored.index, hashes)
        if proof is None:
            return None
        checkpoint = self._log.sign_checkpoint(frontier)
        return inclusion_message(stored, frontier.size, proof, checkpoint, self._log.keys.rotations)

    def _evidence_message(self, decision_id: str, found: DecisionLookup, records: RecordReader) -> pb.Evidence:
        """Build the evidence, except for the policy, the reading and the proof, which are added later."""
        evidence = pb.Evidence(
            decision_id=decision_id,
            body_state=evidence_pb2.BODY_STATE_ERASED,
            verifier_key=self._log.verifier.text(),
        )
        body = found.body
        if body is None or found.record is None:
            return evidence
        overrides, outcomes = read_events(records, found.record)
        evidence.overrides.extend(overrides)
        evidence.outcomes.extend(outcomes)
        evidence.body_state = evidence_pb2.BODY_STATE_READABLE
        evidence.record.CopyFrom(body)
        evidence.request.CopyFrom(credit_pb2.ScoreCreditRequest.FromString(body.request))
        evidence.decision.CopyFrom(credit_pb2.CreditDecision.FromString(body.answer))
        if bundle := self._bundles.find(CREDIT_FAMILY, body.bundle_id):
            evidence.bundle.CopyFrom(bundle)
        return evidence

    def _add_policy(self, evidence: pb.Evidence, snapshot: Snapshot) -> None:
        """Add the policy file that the decision was made with, unless the file is missing or damaged."""
        body = evidence.record
        try:
            content = self._policies.find(body.policy_sha256, snapshot) if body.policy_sha256 else None
        except RecordDamaged:
            return
        if content is not None:
            policy = pb.PolicyEvidence(version=body.policy_version, sha256=body.policy_sha256, content=content)
            evidence.policy.CopyFrom(policy)
            _add_section(evidence, content)


def _add_section(evidence: pb.Evidence, content: bytes) -> None:
    """Add the section of the policy that was applied, unless this release cannot read the file."""
    market, product = evidence.request.customer.market, evidence.decision.assessment.policy_result.product
    day = time_from_timestamp(evidence.record.decide_time).date()
    try:
        policy = parse_recorded_policy(content)
    except PolicyRefused:
        return
    section = policy.section(market, product, day)
    if section is not None:
        evidence.policy.section.CopyFrom(section_message(policy, section, DEFAULT_LOCALE, day))


class BundleEvidenceCache:
    """Caches the messages that describe bundles. A message is rebuilt if the bundle's entry or markets change."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models
        self._messages: dict[str, tuple[CatalogEntry, list[str], pb.BundleEvidence]] = {}

    def schema(self, family: str, bundle_id: str) -> Schema | None:
        """Return a bundle's schema; None if the catalog has no valid bundle of this id."""
        entry = self._models.current.entries.get((family, bundle_id))
        return entry.bundle.schema if entry and entry.bundle else None

    def find(self, family: str, bundle_id: str) -> pb.BundleEvidence | None:
        """Return the message of a bundle; None if the catalog has no valid bundle of this id."""
        serving = self._models.current
        entry, markets = serving.entries.get((family, bundle_id)), serving.markets_of(bundle_id)
        if entry is None or entry.bundle is None:
            return None
        cached = self._messages.get(bundle_id)
        if cached is None or cached[0] is not entry or cached[1] != markets:
            manifest = entry.bundle.manifest
            message = pb.BundleEvidence(
                model=model_message(serving, entry, entry.bundle), files=manifest.files, made_from=manifest.made_from
            )
            self._messages[bundle_id] = cached = entry, markets, message
        return cached[2]
