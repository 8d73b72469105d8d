"""Replays of churn risks: the features of a run's row put again to the bundle that scored it, and the answers compared."""

from google.protobuf.timestamp_pb2 import Timestamp

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import churn_evidence_pb2
from grounds.audit.v1 import evidence_pb2 as ev
from models.errors import AdditivityError
from models.model import Model
from server.decisions.assessment import SourcedValue
from server.decisions.churn_replay import StoredRisk, explanation_verdict, recompute_explanation, score_verdict
from server.decisions.replay_verdict import ReplayMatch, ReplayMismatch, ReplayVerdict
from server.edges.audit.churn_evidence import ALTERED, reading_of
from server.edges.audit.past import ReplayUnavailable
from server.edges.audit.proofs import verified
from server.edges.audit.question import fitting
from server.edges.audit.readings import ReadingRecorder
from server.edges.audit.replay import NOTICE
from server.edges.audit.verdicts import unavailable, verdict_result
from server.edges.churn.messages import BANDS
from server.edges.credit.decision_records import runtime_message
from server.edges.explanations import (
    ContributionFacts,
    baseline_message,
    contribution_message,
    explanation_message,
    timestamp,
)
from server.edges.thread_pool import StoreThreads
from server.errors import BundleNotReadable, BundleUnknown, RecordDamaged, RecordUnknown
from server.stores.catalog.bundle_cache import BundleCaches
from server.stores.float_arrays import unpack_doubles
from server.stores.record_log.entries import EPOCH, MICROSECOND
from server.stores.record_log.proofs import ProofReader
from server.stores.runs.evidence import PredictionEvidence, RunEvidenceReader
from server.stores.runs.leaves import LeavesDamaged
from server.stores.runs.predictions import SCORED
from server.stores.runs.records import manifest_sha256, run_record_id

STANDARD_MODES = (ev.REPLAY_MODE_VERIFY, ev.REPLAY_MODE_SCORE, ev.REPLAY_MODE_EXPLANATION)
DECLINE_FAMILY = "{}_decline"


class ChurnReplayer:
    """Replays churn risks, and has it recorded that they were read."""

    def __init__(
        self,
        readings: ReadingRecorder,
        rows: RunEvidenceReader,
        proofs: ProofReader,
        shelves: BundleCaches,
        threads: StoreThreads,
    ) -> None:
        self.readings, self.rows, self.proofs = readings, rows, proofs
        self.shelves, self.threads = shelves, threads

    async def give(self, request: churn_evidence_pb2.ReplayChurnRiskRequest) -> pb.ReplayChurnRiskResponse:
        """Give the verdicts, once the reading is durable."""
        customer, modes = request.customer, tuple(request.modes) or STANDARD_MODES
        found = await self.threads.run(self.rows.find_prediction, request.run_id, customer.market, customer.customer_id)
        other = None
        if request.bundle_id:
            other = await self.threads.run(
                self.shelves.for_family(found.run.manifest["family"]).open_model, request.bundle_id
            )
        reading = await self.readings.record(
            reading_of(self.rows, "ReplayChurnRisk", request, modes, request.bundle_id)
        )
        answer = pb.ReplayChurnRiskResponse(
            run_id=request.run_id, customer=customer, replay_runtime=runtime_message(), reading=reading
        )
        for mode in modes:
            answer.results.append(await self.threads.run(self.result, mode, found, other))
        return answer

    def result(self, mode: ev.ReplayMode, found: PredictionEvidence, other: Model | None) -> ev.ReplayResult:
        """Replay in one mode."""
        try:
            if mode == ev.REPLAY_MODE_VERIFY:
                return verdict_result(mode, self.verified(found))
            kept = kept_risk(found)
            if mode == ev.REPLAY_MODE_FEATURES:
                return unavailable(mode, ev.UNAVAILABLE_REASON_TRANSACTIONS_ELSEWHERE, elsewhere(found))
            if mode == ev.REPLAY_MODE_WHAT_IF:
                assert other is not None, "the contract demands a bundle_id"
                return self.what_if(found, kept, other)
            verdict, left_out = self.recomputed(mode, found, kept)
        except ReplayUnavailable as error:
            return unavailable(mode, error.why, str(error))
        result = verdict_result(mode, verdict)
        result.left_out = left_out
        return result

    def verified(self, found: PredictionEvidence) -> ReplayVerdict:
        """Check the run's record against the signed tree, and the row against the root that the record names."""
        run_id = found.run.run_id
        try:
            of_record = verified(self.proofs, run_record_id(run_id))
        except RecordUnknown:
            return ReplayMismatch("record", "", "the run has no record", 1)
        if not isinstance(of_record, ReplayMatch):
            return of_record
        if found.damage:
            return ReplayMismatch("record", "", found.damage, 1)
        if found.recorded is None:
            told = (
                f"run {run_id} was loaded by an earlier release, whose record proves all rows together and none alone: "
                "`python -m server doctor` checks it whole; the market's next run can be proved row by row"
            )
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_PROOF_MISSING, told)
        if found.row is not None and not found.content:
            return ReplayMismatch("row", "", ALTERED, 1)
        try:
            self.rows.prove_row(found)
        except LeavesDamaged as error:
            return ReplayMismatch(error.field, error.stored, error.recomputed, 1)
        return self.manifest_verdict(found, of_record.compared + 1)

    def manifest_verdict(self, found: PredictionEvidence, compared: int) -> ReplayVerdict:
        """Compare the run's line with the body of its record, as far as retention has left it."""
        try:
            body = self.rows.find_run_record(found.run.run_id)
        except RecordDamaged as error:
            return ReplayMismatch("record", "", str(error), 1)
        if body is None:
            return ReplayMatch(compared)
        now = manifest_sha256(found.manifest)
        if body.manifest_sha256 != now:
            return ReplayMismatch("manifest", body.manifest_sha256, now, 1)
        told = {each.market: each for each in body.markets}.get(found.run.market)
        then, cut = told.as_of_time if told else Timestamp(), timestamp(found.run.as_of)
        if then != cut:
            return ReplayMismatch("run.as_of_time", then.ToJsonString(), cut.ToJsonString(), 1)
        return ReplayMatch(compared + 2)

    def recomputed(self, mode: ev.ReplayMode, found: PredictionEvidence, kept: StoredRisk) -> tuple[ReplayVerdict, str]:
        """Compute the risk again, and compare the mode's part of it; gives what was left out too."""
        model = self.model(found)
        if kept.names != list(model.bundle.schema.names):
            return ReplayMismatch("feature_names", ", ".join(kept.names), ", ".join(model.bundle.schema.names), 1), ""
        try:
            answer = recompute_explanation(model, kept)
        except AdditivityError as error:
            return ReplayMismatch("residual", "", str(error), 1), ""
        if mode == ev.REPLAY_MODE_EXPLANATION:
            return explanation_verdict(kept, answer, model)
        return score_verdict(kept, answer, self.decline(found))

    def model(self, found: PredictionEvidence) -> Model:
        """Open the bundle that scored the run."""
        try:
            return self.shelves.for_family(found.run.manifest["family"]).open_model(found.run.manifest["bundle_id"])
        except (BundleUnknown, BundleNotReadable) as error:
            raise ReplayUnavailable(ev.UNAVAILABLE_REASON_ARTIFACT_MISSING, str(error)) from error

    def decline(self, found: PredictionEvidence) -> Model | None:
        """Open the bundle of the second probability; None where the run has none, or it is not there."""
        bundle_id = found.run.manifest.get("decline_bundle_id")
        if not bundle_id:
            return None
        try:
            return self.shelves.for_family(DECLINE_FAMILY.format(found.run.manifest["family"])).open_model(bundle_id)
        except (BundleUnknown, BundleNotReadable):
            return None

    def what_if(self, found: PredictionEvidence, kept: StoredRisk, other: Model) -> ev.ReplayResult:
        """Put the features to another bundle, as far as it knows them."""
        values, schema = kept.values(self.model(found).bundle.schema), other.bundle.schema
        inputs = fitting(
            schema, {name: SourcedValue(value, "STORE", found.run.as_of) for name, value in values.items()}
        )
        answer = other.explain({name: schema.encode_value(name, given.value) for name, given in inputs.items()})
        lines = []
        for feature, log_odds in zip(schema.features, answer.contributions, strict=True):
            given = inputs.get(feature.name)
            value, source = (given.value, given.source) if given else (None, None)
            facts = ContributionFacts(feature.name, feature.group, value, source, found.run.as_of, log_odds, None)
            lines.append(contribution_message(facts))
        baseline = other.bundle.baseline
        told = baseline_message(other.bundle.baseline_sha256, baseline.row_count, baseline.definition)
        churn = ev.ChurnWhatIf(
            log_odds=answer.log_odds,
            churn_probability=answer.pd,
            risk_band=BANDS.get(answer.grade, BANDS[None]),
            explanation=explanation_message(baseline.method, told, answer.base_value, answer.residual, lines),
        )
        what_if = ev.WhatIf(notice=NOTICE, bundle_id=other.bundle.bundle_id, churn=churn)
        return ev.ReplayResult(mode=ev.REPLAY_MODE_WHAT_IF, what_if=what_if)


def kept_risk(found: PredictionEvidence) -> StoredRisk:
    """Give what a row says of a customer with a score."""
    row = found.row
    if row is None:
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_INPUT_ERASED, "the customer was erased")
    if not found.content:
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_RECORD_DAMAGED, ALTERED)
    if row.status != SCORED:
        told = f"the customer has no score in this run: {row.status}"
        raise ReplayUnavailable(ev.UNAVAILABLE_REASON_NOT_SCORED, told)
    return StoredRisk(
        log_odds=row.log_odds,
        pd=row.pd,
        band=row.band or "",
        had_same_band=row.band_since is not None and EPOCH + row.band_since * MICROSECOND < found.run.as_of,
        decline_pd=row.decline_pd,
        features=unpack_doubles(row.features),
        contributions=unpack_doubles(row.contributions),
        drivers=row.drivers,
        manifest=found.run.manifest,
    )


def elsewhere(found: PredictionEvidence) -> str:
    """Say how the features can be made again."""
    return (
        "the features were made from transactions, which this server does not have. Where they are: python -m training "
        f"score SPEC.toml --at {found.run.as_of:%Y-%m-%d}, with the same bundle and lists; only from the same features "
        f"it gives a run of this name, {found.run.run_id}"
    )
