"""Write a bundle and a record log as this release writes them: `python -m tests.compat FOLDER`.

The tests of every later release must read the folder. The data are generated. The keys of the record log are derived from a
public word, so they do not protect anything.
"""

import asyncio
import base64
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import grpc
import sqlalchemy
from typer.testing import CliRunner

from grounds.audit.v1 import audit_pb2, audit_pb2_grpc
from grounds.credit.v1 import credit_pb2_grpc
from grounds_client.commands.app import app as client_app
from grounds_record.note import SigningKey
from models.catalog import activate
from server.application import Application
from server.config import Settings, read_settings
from server.load.files import load_file
from server.stores.database import Database
from server.stores.record_log.opening import KeyLocations
from server.stores.runs.pruning import RunRetention
from tests.conftest import LOAD_TIME
from tests.server.requests import customer, euros, numbers, score_request
from tests.small import POLICY, SPEC, made_customers, write_small_family

ORIGIN = "example.com/compat"
WORD = b"grounds compatibility"
QUESTIONS = (
    {"customer": customer("DE", "C00000"), "features": numbers(turnover=90_000.0)},
    {"customer": customer("FR", "C00001"), "features": numbers(turnover=9_000.5, years=2.5), "locale": "de"},
    {"customer": customer("DE", "C00002"), "requested_amount": euros(60_000), "locale": "de-AT"},
    {"customer": customer("FR", "C00003"), "requested_amount": euros(19_999, 990_000_000)},
    {"customer": customer("DE", "C00004")},
    {"customer": customer("DE", "C00006"), "features": numbers(turnover=1_000.0)},
)
UNKNOWN_DAYS = "C00004"  # not scorable, because the mandatory feature of this customer is missing


def main(folder: Path) -> int:
    """Write the folder; return the exit status."""
    if folder.exists():
        sys.stderr.write(f"{folder}: already exists and must not be changed; specify a new folder\n")
        return 1
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        customers = made_customers(400)
        customers.loc[customers["number"] == UNKNOWN_DAYS, "days_late"] = float("nan")
        family = write_small_family(made, SPEC.replace("max_leaves = 6", "max_leaves = 3"), customers)
        shutil.copytree(family.bundles, folder / "bundles")
        activate(folder / "bundles", family.bundle_folder.name)
        (folder / "policy.toml").write_text(POLICY)
        settings = settings_of(folder, made)
        database = Database(settings.database)
        database.migrate()
        load_file(
            database,
            family.features,
            LOAD_TIME,
            KeyLocations.from_settings(settings),
            RunRetention.from_settings(settings),
        )
        database.close()
        asyncio.run(decide(settings, folder))
    (folder / "log.db.loading").unlink()  # the lock of `load`
    for path in folder.glob("*.db"):
        with sqlalchemy.create_engine(f"sqlite:///{path}").connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
            connection.exec_driver_sql("VACUUM")
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(f"{folder}: {written:,} bytes\n")
    return 0


def settings_of(folder: Path, keys: Path) -> Settings:
    """Return the settings of a server on the data of `folder`; write its key files into the folder `keys`."""
    secret = base64.b64encode(hashlib.sha256(WORD).digest()).decode()
    for name, line in (
        ("signing.key", SigningKey(ORIGIN, hashlib.sha256(WORD[::-1]).digest()).text()),
        ("master.key", f"GROUNDS+SECRET+{secret}"),
    ):
        (keys / name).write_text(f"{line}\n")
        (keys / name).chmod(0o600)
    if (folder / "keys.db").exists():
        (folder / "keys.db").chmod(0o600)  # version control does not store file modes
    return read_settings(
        port=0,
        bundles=folder / "bundles",
        policy=folder / "policy.toml",
        database=f"sqlite:///{folder / 'log.db'}",
        keys=f"sqlite:///{folder / 'keys.db'}",
        master_key=keys / "master.key",
        signing_key=keys / "signing.key",
        log_origin=ORIGIN,
        drain_seconds_max=0,
    )


async def decide(settings: Settings, folder: Path) -> None:
    """Score, read evidence and export the record log; write the answers into the folder."""
    application = Application(settings)
    await application.start()
    address = f"127.0.0.1:{application.port}"
    answers = {}
    async with grpc.aio.insecure_channel(address) as channel:
        credit, audit = credit_pb2_grpc.CreditServiceStub(channel), audit_pb2_grpc.AuditServiceStub(channel)
        for question in QUESTIONS:
            decision = (await credit.ScoreCredit(score_request(**question))).credit_decision
            content = decision.SerializeToString(deterministic=True)
            answers[decision.record_ref.decision_id] = base64.b64encode(content).decode()
        read = audit_pb2.GetEvidenceRequest(decision_id=next(iter(answers)), purpose="A reading of that time")
        await audit.GetEvidence(read)
        newest = await audit.GetCheckpoint(audit_pb2.GetCheckpointRequest())
    words = ["export-log", str(folder / "export.log"), "--address", address]
    done = await asyncio.to_thread(CliRunner().invoke, client_app, words)
    assert done.exit_code == 0, done.output
    await application.stop()
    (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    (folder / "checkpoint.txt").write_text(newest.checkpoint)
    (folder / "key.pub").write_text(newest.verifier_key + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
