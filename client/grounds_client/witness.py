"""The witness of a log, which cosigns a checkpoint only if the checkpoint extends the last one that it cosigned.

The witness needs the log's public key and its own folder. It trusts neither the server nor the network. If a server
shows a checkpoint that contradicts the last one (a split view), the witness keeps both signed checkpoints as evidence,
because together they prove that the owner of the log's key signed two histories.

The folder contains:

    witness.key           the private key of the witness, mode 0600
    checkpoint.txt        the last cosigned checkpoint; auditors pass it to `verify --checkpoint`
    size.txt              its number of records, so that a missing or older checkpoint.txt is noticed
    contradiction-*.txt   checkpoints that contradict each other, as the servers signed them
    lock                  locked by the process that uses the folder
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grounds.audit.v1 import audit_pb2
from grounds_client.errors import WitnessRefused
from grounds_client.files import hold_lock
from grounds_record.checkpoint import Checkpoint, open_checkpoint
from grounds_record.cosignature import WitnessKey, add_cosignature, verify_cosignatures, witness_key
from grounds_record.errors import ProofInvalid, RecordError
from grounds_record.key_files import ensure_signing_key, read_signing_key
from grounds_record.key_history import KeyHistory, trace_keys
from grounds_record.merkle import verify_consistency
from grounds_record.note import VerifierKey
from grounds_record.private_files import make_folder, replace_file


class CheckpointSource(Protocol):
    """A server that shows checkpoints; see `Client`."""

    def get_checkpoint(self) -> audit_pb2.GetCheckpointResponse:
        """Return the newest signed checkpoint."""

    def get_consistency_proof(self, old_size: int, *, new_size: int = 0) -> audit_pb2.GetConsistencyProofResponse:
        """Return the proof that the tree of `new_size` records extends the tree of `old_size` records."""


class SplitView(Exception):
    """A server shows a checkpoint that contradicts the last cosigned one. The message states both sizes and roots."""


@dataclass(frozen=True, slots=True)
class WitnessResult:
    """The result of one round: the cosigned checkpoint, and the number of records that are new since the last round."""

    checkpoint: Checkpoint
    added: int


class Witness:
    """A witness of one log.

    Attributes:
        folder: The folder of the witness.
        cosigned_path: Path of the last cosigned checkpoint.
        key: The public key of the witness.
    """

    def __init__(self, folder: Path, name: str, log_key: VerifierKey, clock: Callable[[], float]) -> None:
        """Read the key of the witness. In an empty folder, create the key.

        Args:
            folder: The folder of the witness. It is created if it is missing.
            name: Name of the witness, such as a URL without its scheme. The name must never change.
            log_key: The log's public key, obtained out of band.
            clock: Function that returns the current time in seconds since 1970.

        Raises:
            RecordError: The key file is invalid, belongs to a witness with another name, or is missing although the
                folder has a cosigned checkpoint.
        """
        make_folder(folder)
        self.folder, self.cosigned_path = folder, folder / "checkpoint.txt"
        self._size_path = folder / "size.txt"
        self._log_key, self._clock = log_key, clock
        read = read_signing_key if self.cosigned_path.exists() else ensure_signing_key
        self._signing_key = read(folder / "witness.key", name)
        self.key: WitnessKey = witness_key(self._signing_key)

    def run_round(self, source: CheckpointSource) -> WitnessResult:
        """Fetch the newest checkpoint, check it against the last cosigned one, and cosign it.

        The cosigned checkpoint is durable on the disk before this method returns.

        Raises:
            SplitView: The checkpoint contradicts the last cosigned one. Both are kept in the folder.
            WitnessRefused: Another process uses the folder, the folder was changed, or the clock is wrong.
            CallFailed: The server did not answer.
            RecordError: The checkpoint is malformed or is not signed by the log's key.
        """
        # Two witnesses with one key could cosign two histories.
        refusal = WitnessRefused(f"{self.folder}: another process uses this folder; wait for it to end")
        with hold_lock(self.folder / "lock", refusal):
            head = source.get_checkpoint()
            # The server's statements count only as far as signatures connect them with the key that the witness trusts.
            keys = trace_keys(self._log_key, head.key_rotations)
            last = self._read_last(keys)
            note = head.checkpoint
            checkpoint = open_checkpoint(note, keys)
            if last is not None:
                self._check_continuity(source, *last, note, checkpoint)
            cosigned = add_cosignature(note, self._signing_key, self._cosigning_time())
            with replace_file(self.cosigned_path) as temporary:
                temporary.write_text(cosigned, encoding="utf-8")
            # If the process ends here, the recorded size is smaller than that of the checkpoint, which is allowed.
            with replace_file(self._size_path) as temporary:
                temporary.write_text(f"{checkpoint.size}\n", encoding="ascii")
        return WitnessResult(checkpoint, checkpoint.size - (last[1].size if last else 0))

    def _read_last(self, keys: KeyHistory) -> tuple[str, Checkpoint] | None:
        """Return the last cosigned checkpoint as a note and parsed; None before the first round.

        Raises:
            WitnessRefused: The file is missing, is older than the last cosigned checkpoint, or was changed.
        """
        recorded = self._read_size()
        if not self.cosigned_path.exists():
            if recorded is None:
                return None
            raise WitnessRefused(
                f"{self.cosigned_path}: is missing, but this witness has cosigned {recorded} records; restore the file"
            )
        try:
            note = self.cosigned_path.read_text(encoding="utf-8")
            checkpoint = open_checkpoint(note, keys)
            own = verify_cosignatures(note, [self.key])
        except (RecordError, UnicodeDecodeError) as error:
            raise WitnessRefused(
                f"{self.cosigned_path}: is not a checkpoint of this log: {error}; restore the file, or use one folder for each log"
            ) from error
        if not own:
            raise WitnessRefused(f"{self.cosigned_path}: was not cosigned by this witness; restore the file")
        if recorded is not None and checkpoint.size < recorded:
            raise WitnessRefused(
                f"{self.cosigned_path}: has {checkpoint.size} records, but this witness has cosigned {recorded}; restore the newest "
                "copy of the file"
            )
        return note, checkpoint

    def _read_size(self) -> int | None:
        """Return the number of records that this witness cosigned last; None before the first round."""
        try:
            text = self._size_path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            text = ""
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise WitnessRefused(f"{self._size_path}: must contain a number of records; restore the file")
        return int(text)

    def _cosigning_time(self) -> int:
        """Return the current time; raise WitnessRefused if the clock is behind the last cosignature."""
        now, last = int(self._clock()), 0
        if self.cosigned_path.exists():
            times = verify_cosignatures(self.cosigned_path.read_text(encoding="utf-8"), [self.key])
            last = max(times.values())
        if now < last:
            raise WitnessRefused(f"the clock is {last - now} seconds behind the last cosignature; correct the clock")
        return now

    def _check_continuity(
        self, source: CheckpointSource, last_note: str, last: Checkpoint, note: str, checkpoint: Checkpoint
    ) -> None:
        """Check that a checkpoint extends the last cosigned one.

        Raises:
            SplitView: The checkpoint does not extend the last cosigned one.
        """
        if checkpoint.size < last.size:
            problem = "the server shows fewer records than this witness has seen"
        elif checkpoint.size == last.size:
            problem = "" if checkpoint.root == last.root else "two checkpoints of the same size have different roots"
        else:
            proof = source.get_consistency_proof(last.size, new_size=checkpoint.size)
            try:
                verify_consistency(last.size, checkpoint.size, last.root, checkpoint.root, tuple(proof.hashes))
                problem = ""
            except ProofInvalid as error:
                problem = f"the server cannot prove that the newer checkpoint extends the older one ({error})"
        if problem:
            paths = " and ".join(str(self._keep_evidence(each)) for each in (last_note, note))
            raise SplitView(
                f"SPLIT VIEW of the log {last.origin}: {problem}. Cosigned: {last.size} records with root {last.root.hex()}. Shown "
                f"now: {checkpoint.size} records with root {checkpoint.root.hex()}. Nothing was cosigned. Both signed "
                f"checkpoints are kept in {paths}; compare them with those of other readers of the log"
            )

    def _keep_evidence(self, note: str) -> Path:
        """Write a checkpoint to a file that is named after its content, unless the file exists; return the path."""
        path = self.folder / f"contradiction-{hashlib.sha256(note.encode()).hexdigest()[:16]}.txt"
        if not path.exists():
            with replace_file(path) as temporary:
                temporary.write_text(note, encoding="utf-8")
        return path
