"""What an auditor types on a machine of their own: verify an export. Needs no server, and of ours `record` alone."""

from pathlib import Path
from typing import Annotated

import typer

from grounds_record.errors import KeyMalformed
from grounds_record.export_file import read_export
from grounds_record.note import PRIVATE_KEY_PREFIX, VerifierKey, parse_verifier_key
from grounds_record.verify import verify as verified

Kept = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that you kept; repeatable."),
]


def verify(
    export: Annotated[Path, typer.Argument(metavar="FILE", help="As `export-log` wrote it.")],
    key: Annotated[str, typer.Option(help="The log's public key, or a file that holds it.", metavar="KEY")],
    kept: Kept = None,
) -> None:
    """Check exported records against the public key and the checkpoints that you kept. Asks no server."""
    found, newest = read_export(export)
    notes = [path.read_text(encoding="utf-8") for path in kept or []]
    verdict = verified(found, [newest, *notes], verifier_of(key))
    for sentence in verdict.sentences():
        typer.echo(sentence)
    if not verdict.holds:
        raise typer.Exit(1)


def verifier_of(key: str) -> VerifierKey:
    """Read a public key, or the file that holds it.

    Raises:
        KeyMalformed: It is none; a private one is not repeated.
    """
    text = Path(key).read_text(encoding="ascii").strip() if Path(key).is_file() else key
    if text.startswith(PRIVATE_KEY_PREFIX):
        raise KeyMalformed(
            "--key is a private key, which should not be here; python -m server public-key prints the other"
        )
    try:
        return parse_verifier_key(text)
    except KeyMalformed as error:
        raise KeyMalformed(f"--key is neither a file that is there nor a public key: {error}") from error
