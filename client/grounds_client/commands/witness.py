"""The command `witness`: cosign the checkpoints of a log as an independent party."""

import time
from pathlib import Path
from typing import Annotated

import typer

from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.commands.connection import connect
from grounds_client.commands.options import Address
from grounds_client.commands.output import print_message
from grounds_client.commands.record_log import parse_key_option
from grounds_client.errors import CallFailed
from grounds_client.witness import SplitView, Witness

SPLIT_VIEW_STATUS = 3


def witness(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of this witness: key, state, evidence.")],
    key: Annotated[str, typer.Option(help="The log's public key, or a file that contains it.", metavar="KEY")],
    name: Annotated[
        str, typer.Option(help="Name of this witness, such as audit.example.com/witness. Never change it.")
    ],
    every: Annotated[
        float | None, typer.Option(help="Repeat with a pause of so many seconds; default: one round.", min=1)
    ] = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Cosign the newest checkpoint of a log if it extends the last one that this witness cosigned.

    The exit status is 3 if the server shows a checkpoint that contradicts the last one: a split view. Both signed
    checkpoints are kept in FOLDER. FOLDER/checkpoint.txt has the last cosigned checkpoint, for `verify --checkpoint`.
    """
    own = Witness(folder, name, parse_key_option(key), time.time)
    print_message(f"public key of this witness: {own.key.text()}")
    with connect(address) as client:
        while True:
            try:
                result = own.run_round(client)
            except SplitView as error:
                print_message(f"error: {error}", err=True)
                raise typer.Exit(SPLIT_VIEW_STATUS) from error
            except CallFailed as error:
                if every is None:
                    raise
                print_message(f"no checkpoint: {error}; trying again", err=True)
            else:
                size = result.checkpoint.size
                print_message(f"{own.cosigned_path}: cosigned {size:,} records, {result.added:,} of them new")
            if every is None:
                return
            time.sleep(every)
