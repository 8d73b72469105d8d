"""The record format of Grounds: sealed records, the transparency log that they form, and its verification.

The only dependency is `cryptography`, so an auditor can verify a log on any machine with Python 3.10 or newer:

    from pathlib import Path
    from grounds_record import parse_verifier_key, read_export, verify

    export, newest_checkpoint = read_export(Path("log.jsonl"))
    key = parse_verifier_key(Path("grounds.pub").read_text().strip())
    report = verify(export, [newest_checkpoint, Path("kept.checkpoint").read_text()], key)
    print(*report.sentences(), sep=", ")
"""

from grounds_record.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from grounds_record.cosignature import WitnessKey, add_cosignature, parse_witness_key, verify_cosignatures, witness_key
from grounds_record.errors import (
    CheckpointMalformed,
    CheckpointOriginMismatch,
    CustomerKeyMismatch,
    ExportMalformed,
    FrameInvalid,
    HeaderInvalid,
    HeaderVersionUnsupported,
    KeyFileRejected,
    KeyHistoryInvalid,
    KeyMalformed,
    NoteMalformed,
    ProofInvalid,
    RecordAltered,
    RecordError,
    SignatureInvalid,
    SignatureMissing,
    WrappedKeyInvalid,
)
from grounds_record.export import Export, RetentionProof, StoredRecord
from grounds_record.export_file import read_export, write_export
from grounds_record.header import Header, RemovedRecord, parse_header
from grounds_record.key_history import KeyHistory, KeyRotation, open_rotation, sign_rotation, trace_keys
from grounds_record.merkle import leaf_hash, verify_consistency, verify_inclusion
from grounds_record.note import SigningKey, VerifierKey, parse_signing_key, parse_verifier_key
from grounds_record.sealed_record import SealedRecord, open_record, parse_leaf_data, seal_record
from grounds_record.verification import CosignatureRule, verify
from grounds_record.verification_report import Fault, FaultKind, VerificationReport

__all__ = [
    "Checkpoint",
    "CheckpointMalformed",
    "CheckpointOriginMismatch",
    "CosignatureRule",
    "CustomerKeyMismatch",
    "Export",
    "ExportMalformed",
    "Fault",
    "FaultKind",
    "FrameInvalid",
    "Header",
    "HeaderInvalid",
    "HeaderVersionUnsupported",
    "KeyFileRejected",
    "KeyHistory",
    "KeyHistoryInvalid",
    "KeyMalformed",
    "KeyRotation",
    "NoteMalformed",
    "ProofInvalid",
    "RecordAltered",
    "RecordError",
    "RemovedRecord",
    "RetentionProof",
    "SealedRecord",
    "SignatureInvalid",
    "SignatureMissing",
    "SigningKey",
    "StoredRecord",
    "VerificationReport",
    "VerifierKey",
    "WitnessKey",
    "WrappedKeyInvalid",
    "add_cosignature",
    "leaf_hash",
    "open_checkpoint",
    "open_record",
    "open_rotation",
    "parse_checkpoint",
    "parse_header",
    "parse_leaf_data",
    "parse_signing_key",
    "parse_verifier_key",
    "parse_witness_key",
    "read_export",
    "seal_record",
    "sign_checkpoint",
    "sign_rotation",
    "trace_keys",
    "verify",
    "verify_consistency",
    "verify_cosignatures",
    "verify_inclusion",
    "witness_key",
    "write_export",
]
