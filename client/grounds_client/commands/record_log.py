"""Commands of the record log: save a checkpoint, export a range of records, and verify an export without a server."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from grounds.audit.v1 import audit_pb2
from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.commands.connection import connect
from grounds_client.commands.options import Address
from grounds_client.commands.output import print_message, print_text
from grounds_client.evidence.checkpoint_checks import check_checkpoints
from grounds_client.terminal.audit import show_checks
from grounds_client.terminal.console import make_console
from grounds_record.checkpoint import parse_checkpoint
from grounds_record.cosignature import WitnessKey, parse_witness_key
from grounds_record.errors import KeyMalformed, RecordError
from grounds_record.export import Export, RetentionProof, StoredRecord
from grounds_record.export_file import read_export, write_export
from grounds_record.note import PRIVATE_KEY_PREFIX, VerifierKey, parse_note, parse_verifier_key
from grounds_record.private_files import replace_file
from grounds_record.verification import CosignatureRule
from grounds_record.verification import verify as verify_export

_Checkpoints = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that you saved earlier; repeatable."),
]


def checkpoint(
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the checkpoint to this new file, to compare with it later."),
    ] = None,
    checkpoints: _Checkpoints = None,
    key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="The log's public key, or a file that contains it. Default: the key that the server reports, which proves "
            "only that the server agrees with itself.",
        ),
    ] = "",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Show or save the log's newest checkpoint: its signed size and root. Check it against checkpoints that you saved earlier.

    Standard output has the checkpoint alone, unless --save writes it to a file. The exit status is 1 if a check fails; then
    nothing is saved.
    """
    if save is not None and save.exists():
        raise typer.BadParameter(
            f"{save} exists; a saved checkpoint is never replaced, so choose a new name", param_hint="--save"
        )
    given_key = parse_key_option(key) if key else None
    notes = [path.read_text(encoding="utf-8") for path in checkpoints or []]
    with connect(address) as client:
        head = client.get_checkpoint()
        verifier_key = given_key or parse_verifier_key(head.verifier_key)
        checks = list(check_checkpoints(client, head, notes, verifier_key, given=given_key is not None))
    show_checks(make_console(stderr=save is None), checks, given=given_key is not None)
    if not all(check.holds for check in checks):
        raise typer.Exit(1)
    if save is None:
        print_text(head.checkpoint)
        return
    with replace_file(save) as temporary:
        temporary.write_text(head.checkpoint, encoding="utf-8")
    print_message(f"{save}: the checkpoint of {_checkpoint_size(head.checkpoint):,} records")


def export_log(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    start: Annotated[int, typer.Option(help="Index of the first record, from 0.", min=0)] = 0,
    end: Annotated[int | None, typer.Option(help="Index after the last record; default: all.", min=0)] = None,
    checkpoints: _Checkpoints = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Export records as stored, with everything that proves them, into one file."""
    notes = [path.read_text(encoding="utf-8") for path in checkpoints or []]
    with connect(address) as client, Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        head = client.get_checkpoint()
        checkpoint = head.checkpoint
        size = _checkpoint_size(checkpoint)
        last = size if end is None else min(end, size)
        first = min(start, last)
        known_sizes = [known for known in map(_checkpoint_size, notes) if known <= size]
        proof = client.get_range_proof(first, last, size, checkpoint_sizes=known_sizes)
        messages = progress.track(client.list_records(first, last), total=last - first, description="records")
        count = write_export(to, _export(first, messages, proof, head.key_rotations), checkpoint)
    print_message(f"{to}: {count:,} records, {first} up to {last}, and the checkpoint of {size:,} records")


def verify(
    export: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `export-log` wrote.")],
    key: Annotated[str, typer.Option(help="The log's public key, or a file that contains it.", metavar="KEY")],
    checkpoints: _Checkpoints = None,
    witnesses: Annotated[
        list[str] | None,
        typer.Option(
            "--witness", metavar="KEY", help="Public key of a witness, or a file that contains it; repeatable."
        ),
    ] = None,
    cosigned_by: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="How many of the witnesses must have cosigned a checkpoint; default: all.", min=1
        ),
    ] = None,
) -> None:
    """Verify exported records against the log's public key and the checkpoints that you saved. Needs no server.

    With --witness, a checkpoint that holds must be cosigned too, so that the log cannot have shown you a history of its
    own.
    """
    rule = _cosignature_rule(witnesses or [], cosigned_by)
    records, newest = read_export(export)
    notes = [path.read_text(encoding="utf-8") for path in checkpoints or []]
    verdict = verify_export(records, [newest, *notes], parse_key_option(key), rule)
    for sentence in verdict.sentences():
        print_message(sentence)
    if not verdict.holds:
        raise typer.Exit(1)


def parse_key_option(text: str) -> VerifierKey:
    """Parse `--key`: a public key, or the name of a file that contains one.

    Raises:
        KeyMalformed: The text is neither a public key nor the name of a file with one, or it is a private key. The
            message does not repeat a private key.
    """
    key = Path(text).read_text(encoding="ascii").strip() if Path(text).is_file() else text
    if key.startswith(PRIVATE_KEY_PREFIX):
        raise KeyMalformed(
            "--key: must be the log's public key, got a private key; `python -m server public-key` prints the public one"
        )
    try:
        return parse_verifier_key(key)
    except KeyMalformed as error:
        raise KeyMalformed(f"--key: must be a public key or an existing file that contains one: {error}") from error


def _cosignature_rule(witnesses: Sequence[str], quorum: int | None) -> CosignatureRule | None:
    """Return the rule of `--witness` and `--cosigned-by`; None if no cosignature is required."""
    keys = {key.text(): key for key in map(_parse_witness_option, witnesses)}
    if quorum is not None and quorum > len(keys):
        raise typer.BadParameter(
            f"must be at most the number of different witnesses, {len(keys)}, got {quorum}", param_hint="--cosigned-by"
        )
    return CosignatureRule(tuple(keys.values()), quorum or len(keys)) if keys else None


def _parse_witness_option(text: str) -> WitnessKey:
    """Parse `--witness`: a public key, or the name of a file that contains one.

    Raises:
        KeyMalformed: The text is neither.
    """
    key = Path(text).read_text(encoding="ascii").strip() if Path(text).is_file() else text
    try:
        return parse_witness_key(key)
    except KeyMalformed as error:
        raise KeyMalformed(
            f"--witness: must be the public key of a witness or a file that contains one: {error}"
        ) from error


def _checkpoint_size(note: str) -> int:
    """Return the size that a checkpoint states. The signature is not checked here, because `verify` checks it."""
    try:
        return parse_checkpoint(parse_note(note)[0]).size
    except RecordError as error:
        raise typer.BadParameter(f"the checkpoint is malformed: {error}", param_hint="--checkpoint") from error


def _export(
    start: int,
    messages: Iterable[audit_pb2.StoredRecord],
    proof: audit_pb2.GetRangeProofResponse,
    key_rotations: Iterable[str],
) -> Export:
    """Return records and their proof as an export. The records are fetched only while the export is written."""
    return Export(
        start=start,
        records=map(_stored_record, messages),
        before=tuple(proof.before),
        after=tuple(proof.after),
        retentions=tuple(RetentionProof(_stored_record(each.record), tuple(each.hashes)) for each in proof.retentions),
        consistency=tuple((each.old_size, tuple(each.hashes)) for each in proof.consistency),
        key_rotations=tuple(key_rotations),
    )


def _stored_record(message: audit_pb2.StoredRecord) -> StoredRecord:
    """Return a record as the server stores it. It has no ciphertext if it was erased."""
    ciphertext = message.ciphertext if message.HasField("ciphertext") else None
    return StoredRecord(message.index, message.header, ciphertext, tuple(message.nodes), dict(message.columns))
