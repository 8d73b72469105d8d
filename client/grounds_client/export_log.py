"""What an auditor types at the server: fetch a stretch of the log. To verify it, see grounds_client.verify."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from grounds.audit.v1 import audit_pb2 as pb
from grounds_client.calls import Client
from grounds_client.connection import ADDRESS
from grounds_client.options import Address
from grounds_client.verify import Kept
from grounds_record.checkpoint import parse_checkpoint
from grounds_record.errors import RecordError
from grounds_record.export import Export, RetentionProof, StoredRecord
from grounds_record.export_file import write_export
from grounds_record.note import parse_note


def export_log(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    start: Annotated[int, typer.Option(help="The first record's place, from 0.", min=0)] = 0,
    end: Annotated[int | None, typer.Option(help="Place after the last one; default: all.", min=0)] = None,
    kept: Kept = None,
    address: Address = ADDRESS,
) -> None:
    """Fetch records as stored, with all that proves them, into one file."""
    notes = [path.read_text(encoding="utf-8") for path in kept or []]
    with Client(address) as client, Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        checkpoint = client.get_checkpoint().checkpoint
        size = size_of(checkpoint)
        last = size if end is None else min(end, size)
        first = min(start, last)
        proof = client.get_range_proof(first, last, size, [each for each in map(size_of, notes) if each <= size])
        records = progress.track(client.list_records(first, last), total=last - first, description="records")
        count = write_export(to, export_of(first, map(stored, records), proof), checkpoint)
    typer.echo(f"{to}: {count:,} records, {first} up to {last}, and the checkpoint of {size:,} records")


def size_of(note: str) -> int:
    """Read the size of a checkpoint, whoever signed it: what it promises is verified later."""
    try:
        return parse_checkpoint(parse_note(note)[0]).size
    except RecordError as error:
        raise typer.BadParameter(f"a checkpoint cannot be read: {error}") from error


def export_of(start: int, records: Iterator[StoredRecord], proof: pb.GetRangeProofResponse) -> Export:
    """Put an export together."""
    return Export(
        start=start,
        records=records,
        before=tuple(proof.before),
        after=tuple(proof.after),
        retentions=tuple(RetentionProof(stored(each.record), tuple(each.hashes)) for each in proof.retentions),
        consistency=tuple((each.old_size, tuple(each.hashes)) for each in proof.consistency),
    )


def stored(record: pb.StoredRecord) -> StoredRecord:
    """Read a record as the server sent it."""
    ciphertext = record.ciphertext if record.HasField("ciphertext") else None
    nodes: Sequence[bytes] = record.nodes
    return StoredRecord(record.index, record.header, ciphertext, tuple(nodes), dict(record.columns))
