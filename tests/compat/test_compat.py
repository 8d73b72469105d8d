"""This release reads, verifies and replays what every earlier one wrote."""

import base64
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic.migration import MigrationContext

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.checkpoint import open_checkpoint
from grounds_record.export_file import read_export
from grounds_record.merkle import verify_consistency
from grounds_record.note import parse_verifier_key
from grounds_record.verification import verify
from models.bundle import read_bundle
from models.model import open_model
from server.config import Settings
from server.stores.database import Database
from tests.compat.__main__ import QUESTIONS, settings_of
from tests.conftest import Serving
from tests.server.audits import MODES, read_evidence, replay, score_customer
from tests.server.servers import serve

WRITTEN = sorted(path for path in Path(__file__).parent.iterdir() if (path / "answers.json").is_file())


@dataclass(frozen=True, slots=True)
class Past:
    """What one release wrote, and a server of today on a copy of it."""

    folder: Path
    settings: Settings
    serving: Serving
    answers: dict[str, bytes]


@pytest.fixture(params=WRITTEN, ids=lambda path: path.name)
async def past(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Past]:
    """Serve a copy."""
    folder = shutil.copytree(request.param, tmp_path / "past")
    settings = settings_of(folder, tmp_path)
    answers = json.loads((folder / "answers.json").read_text())
    async with serve(settings) as serving:
        yield Past(folder, settings, serving, {name: base64.b64decode(text) for name, text in answers.items()})


def test_the_first_version_is_there() -> None:
    assert WRITTEN[0].name == "1"


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda path: path.name)
def test_a_bundle_of_then_is_read_and_reproduces_its_golden_rows(folder: Path) -> None:
    for path in (folder / "bundles" / "credit").iterdir():
        if path.is_dir():
            assert open_model(read_bundle(path)).bundle.bundle_id == path.name


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda path: path.name)
def test_an_export_of_then_verifies_with_the_key_and_the_checkpoint_of_then(folder: Path) -> None:
    key = parse_verifier_key((folder / "key.pub").read_text().strip())
    export, newest = read_export(folder / "export.log")

    verdict = verify(export, [newest, (folder / "checkpoint.txt").read_text()], key)

    assert verdict.holds, verdict.sentences()
    assert verdict.end == len(QUESTIONS) + 1


async def test_a_decision_of_then_reads_back_byte_for_byte_and_its_evidence_shows_its_reasons(past: Past) -> None:
    kinds = set()
    for name, content in past.answers.items():
        request = credit_pb2.GetCreditDecisionRequest(decision_id=name)
        decision = (await past.serving.credit.GetCreditDecision(request)).credit_decision
        found = await read_evidence(past.serving, name)

        assert decision.SerializeToString(deterministic=True) == content == found.record.answer
        assert found.decision == decision
        assert found.HasField("bundle")
        assert found.policy.content == (past.folder / "policy.toml").read_bytes()
        kinds.add(decision.decision)
    assert credit_pb2.DECISION_NOT_SCORABLE in kinds
    assert len(kinds) >= 3


async def test_a_decision_of_then_replays(past: Past) -> None:
    """To MATCH where it was written on this runtime, within its tolerance on another."""
    for name in past.answers:
        found = await replay(past.serving, name)

        assert list(found) == list(MODES)
        assert {verdict for verdict, _ in found.values()} <= {"match", "runtime_differs"}, found
        assert found["VERIFY"][0] == found["FEATURES"][0] == "match"


async def test_the_log_of_then_goes_on_and_continues_the_checkpoint_of_then(past: Past) -> None:
    key = parse_verifier_key((past.folder / "key.pub").read_text().strip())
    old = open_checkpoint((past.folder / "checkpoint.txt").read_text(), key)
    await score_customer(past.serving)

    newest = await past.serving.audit.GetCheckpoint(audit_pb2.GetCheckpointRequest())
    request = audit_pb2.GetConsistencyProofRequest(old_size=old.size)
    proof = await past.serving.audit.GetConsistencyProof(request)

    new = open_checkpoint(newest.checkpoint, key)
    assert (old.size, new.size) == (len(QUESTIONS) + 1, len(QUESTIONS) + 2)
    verify_consistency(old.size, new.size, old.root, new.root, tuple(proof.hashes))


async def test_the_database_of_then_was_brought_up_to_date(past: Past) -> None:
    database = Database(past.settings.database)
    with database.reading() as connection:
        today = MigrationContext.configure(connection).get_current_revision()
    database.close()
    fresh = Database(f"sqlite:///{past.folder / 'fresh.db'}")
    fresh.migrate()
    with fresh.reading() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == today
    fresh.close()
