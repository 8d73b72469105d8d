"""This release reads, verifies and replays the bundles and record logs of every earlier release."""

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
from tests.conftest import START_RECORDS, Serving
from tests.server.audits import MODES, read_evidence, replay, score_customer
from tests.server.servers import serve

WRITTEN = sorted(path for path in Path(__file__).parent.iterdir() if (path / "answers.json").is_file())


@dataclass(frozen=True, slots=True)
class Past:
    """A copy of what an earlier release wrote, and a server of the current release on this copy."""

    folder: Path
    settings: Settings
    serving: Serving
    answers: dict[str, bytes]


@pytest.fixture(params=WRITTEN, ids=lambda path: path.name)
async def past(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Past]:
    """Serve a copy of what an earlier release wrote."""
    folder = shutil.copytree(request.param, tmp_path / request.param.name)
    settings = settings_of(folder, tmp_path)
    answers = json.loads((folder / "answers.json").read_text())
    async with serve(settings) as serving:
        yield Past(folder, settings, serving, {name: base64.b64decode(text) for name, text in answers.items()})


def test_the_data_of_the_first_version_exist() -> None:
    assert WRITTEN[0].name == "1"


def log_size(folder: Path) -> int:
    """Return the number of records in the log of a folder: the decisions, a reading, and what a server recorded at its start."""
    return len(QUESTIONS) + 1 + (0 if folder.name == "1" else START_RECORDS)


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda path: path.name)
def test_an_earlier_bundle_loads_and_reproduces_its_golden_rows(folder: Path) -> None:
    for path in (folder / "bundles" / "credit").iterdir():
        if path.is_dir():
            assert open_model(read_bundle(path)).bundle.bundle_id == path.name


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda path: path.name)
def test_an_earlier_export_verifies_with_its_key_and_its_checkpoint(folder: Path) -> None:
    key = parse_verifier_key((folder / "key.pub").read_text().strip())
    export, newest = read_export(folder / "export.log")

    verdict = verify(export, [newest, (folder / "checkpoint.txt").read_text()], key)

    assert verdict.holds, verdict.sentences()
    assert verdict.end == log_size(folder)


async def test_an_earlier_decision_reads_back_byte_for_byte_with_its_evidence(past: Past) -> None:
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


async def test_an_earlier_decision_replays(past: Past) -> None:
    """The verdict is "match" on the runtime that wrote the decision, and "runtime_differs" on a different runtime."""
    for name in past.answers:
        found = await replay(past.serving, name)

        assert list(found) == list(MODES)
        assert {verdict for verdict, _ in found.values()} <= {"match", "runtime_differs"}, found
        assert found["VERIFY"][0] == found["FEATURES"][0] == "match"


async def test_an_earlier_record_log_accepts_new_records_and_stays_consistent_with_its_checkpoint(past: Past) -> None:
    key = parse_verifier_key((past.folder / "key.pub").read_text().strip())
    old = open_checkpoint((past.folder / "checkpoint.txt").read_text(), key)
    await score_customer(past.serving)

    newest = await past.serving.audit.GetCheckpoint(audit_pb2.GetCheckpointRequest())
    request = audit_pb2.GetConsistencyProofRequest(old_size=old.size)
    proof = await past.serving.audit.GetConsistencyProof(request)

    new = open_checkpoint(newest.checkpoint, key)
    assert (old.size, new.size) == (log_size(past.folder), len(QUESTIONS) + 2 + START_RECORDS)
    verify_consistency(old.size, new.size, old.root, new.root, tuple(proof.hashes))


async def test_an_earlier_database_is_migrated_to_the_current_revision(past: Past) -> None:
    database = Database(past.settings.database)
    with database.reading() as connection:
        today = MigrationContext.configure(connection).get_current_revision()
    database.close()
    fresh = Database(f"sqlite:///{past.folder / 'fresh.db'}")
    fresh.migrate()
    with fresh.reading() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == today
    fresh.close()
