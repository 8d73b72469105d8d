"""Replays of decisions whose bundle, policy, features or record are missing or changed."""

import shutil

from sqlalchemy import delete, select, update

from grounds.audit.v1 import evidence_pb2
from grounds.model.v1 import model_pb2
from models.catalog import activate
from models.errors import BundleNotRunnable
from models.model import Model
from server.edges.audit.decision_replay import DecisionReplayer, RecordedDecision, ReplaySources
from server.edges.audit.readings import ReadingRecorder
from server.edges.identity.callers import LOCAL_CALLER
from server.stores.catalog.artifacts import missing_artifacts
from server.stores.catalog.bundle_cache import BundleCache, BundleCaches
from server.stores.catalog.policies import PolicyStore
from server.stores.features import FeatureStore
from server.stores.float_arrays import pack_doubles, unpack_doubles
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.record_log.proofs import ProofReader
from server.stores.tables import FEATURES, POLICIES
from tests.conftest import Serving
from tests.server.audits import MODES, read_row, replay, score_customer
from tests.server.requests import euros
from tests.server.servers import flip_a_byte, swap_model, wait_for_state
from tests.small import SmallFamily


async def decide(serving: Serving, number: int = 0, **changes: object) -> str:
    """Score a customer, and return the decision_id."""
    return (await score_customer(serving, number, **changes)).record_ref.decision_id


def erase(serving: Serving, decision_id: str) -> None:
    """Erase the customer by destroying the key."""
    log = serving.application.log
    assert log is not None
    with log.key_store.database.writing() as connection:
        connection.execute(delete(WRAPPED_KEYS).where(WRAPPED_KEYS.c.key_id == read_row(serving, decision_id).key_id))


async def test_after_an_erasure_only_the_mode_verify_is_available(serving: Serving) -> None:
    decision_id = await decide(serving)
    erase(serving, decision_id)

    found = await replay(serving, decision_id)

    assert found["VERIFY"][0] == "match"
    for mode in MODES[1:]:
        assert found[mode][0] == "unavailable"
        assert found[mode][1].why == evidence_pb2.UNAVAILABLE_REASON_INPUT_ERASED


async def test_the_result_states_which_artifact_is_missing(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    decision_id = await decide(serving)
    with serving.application.database.writing() as connection:
        connection.execute(delete(FEATURES).where(FEATURES.c.customer_id == "C00000"))
        connection.execute(delete(POLICIES))

    found = await replay(serving, decision_id)

    assert found["VERIFY"][0] == "match"
    assert found["FEATURES"][1].why == evidence_pb2.UNAVAILABLE_REASON_FEATURES_MISSING
    assert found["SCORE"][1].why == evidence_pb2.UNAVAILABLE_REASON_POLICY_MISSING
    await swap_model(serving, other.bundle_folder)
    other_decision_id = await decide(serving, 2)
    activate(serving.settings.bundles, small.bundle_folder.name)
    await wait_for_state(serving, other.bundle_folder.name, model_pb2.MODEL_STATE_AVAILABLE)
    shutil.rmtree(serving.settings.bundles / "credit" / other.bundle_folder.name)
    assert (await replay(serving, other_decision_id, "SCORE"))["SCORE"][
        1
    ].why == evidence_pb2.UNAVAILABLE_REASON_ARTIFACT_MISSING


class _OnceRunnable(ReplaySources):
    """Sources whose bundle can be run once; then no process is free."""

    opened = 0

    def open_model(self, recorded: RecordedDecision) -> Model:
        """Open the bundle, or fail."""
        self.opened += 1
        if self.opened > 1:
            raise BundleNotRunnable("no process was free")
        return super().open_model(recorded)


async def test_the_verdicts_are_answered_if_the_search_for_changes_cannot_run_the_bundle(serving: Serving) -> None:
    decision_id = await decide(serving, 2, requested_amount=euros(80_000))
    application = serving.application
    assert application.recorder is not None
    assert application.log is not None
    bundles = BundleCaches(application.settings.bundles, application.graphs, application.models.find_serving)
    database = application.database
    sources = _OnceRunnable(bundles.for_family("credit"), PolicyStore(database), FeatureStore(database))
    replayer = DecisionReplayer(
        readings=ReadingRecorder(application.recorder, clock=application.clock.now),
        log=application.log,
        proofs=ProofReader(database),
        sources=sources,
        threads=application.replays,
    )
    modes = [evidence_pb2.REPLAY_MODE_EXPLANATION]
    request = evidence_pb2.ReplayDecisionRequest(decision_id=decision_id, purpose="review", modes=modes)

    answer = await replayer.replay(request, LOCAL_CALLER)

    assert sources.opened == 2
    assert [result.WhichOneof("verdict") for result in answer.results] == ["match"]
    assert not answer.HasField("recourse")


async def test_a_change_of_stored_features_after_the_decision_is_a_mismatch(serving: Serving) -> None:
    decision_id = await decide(serving)
    with serving.application.database.writing() as connection:
        wanted = select(FEATURES.c.row).where(FEATURES.c.customer_id == "C00000")
        row = list(unpack_doubles(connection.execute(wanted).scalar_one()))
        row[0] += 1
        connection.execute(update(FEATURES).where(FEATURES.c.customer_id == "C00000").values(row=pack_doubles(row)))

    found = await replay(serving, decision_id)

    assert (found["FEATURES"][0], found["FEATURES"][1].field) == ("mismatch", "features[0].value.number")
    assert found["SCORE"][0] == "match", "SCORE uses the recorded inputs, not the feature store"


async def test_doctor_lists_the_decisions_that_can_no_longer_be_replayed(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    bundles = serving.settings.bundles
    for number in range(3):
        await decide(serving, number)
    await swap_model(serving, other.bundle_folder)
    await decide(serving)
    assert (
        list(
            missing_artifacts(serving.application.database, BundleCache(bundles, "credit", serving.application.graphs))
        )
        == []
    )

    flip_a_byte(bundles / "credit" / other.bundle_folder.name / "explain.onnx")
    shutil.rmtree(bundles / "credit" / small.bundle_folder.name)
    with serving.application.database.writing() as connection:
        connection.execute(update(POLICIES).values(content=b"forged"))
    messages = sorted(
        missing_artifacts(serving.application.database, BundleCache(bundles, "credit", serving.application.graphs))
    )

    assert len(messages) == 3
    assert messages[2].startswith("policy ")
    problems = {text.split()[1]: text for text in messages[:2]}
    assert "made 3 decisions" in problems[small.bundle_folder.name]
    assert "explain.onnx" in problems[other.bundle_folder.name]
