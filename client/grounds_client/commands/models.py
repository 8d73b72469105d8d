"""The command `models`, which shows the model catalog."""

from pathlib import Path
from typing import Annotated

import typer

from grounds_client.channel import DEFAULT_ADDRESS
from grounds_client.commands.connection import connect
from grounds_client.commands.options import Address, AsJsonLines
from grounds_client.commands.output import print_json_lines, print_message
from grounds_client.commands.parsers import resolve_bundle_id
from grounds_client.terminal.console import make_console
from grounds_client.terminal.models import show_model, show_models


def models(
    bundle_id: Annotated[
        str | None,
        typer.Argument(metavar="BUNDLE_ID", help="Show this bundle: its id, or its first 8 or more characters."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report that training wrote about the bundle, as HTML."),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJsonLines = False,
) -> None:
    """List all bundles with their state, or show one bundle with its card and its features."""
    if report is not None and bundle_id is None:
        raise typer.BadParameter("needs a BUNDLE_ID", param_hint="--report")
    with connect(address) as client:
        if bundle_id is None:
            summaries = client.list_models()
            if as_json:
                print_json_lines(summaries)
            else:
                show_models(make_console(), summaries)
            return
        found = resolve_bundle_id(client, bundle_id, "BUNDLE_ID")
        if report is not None:
            answer = client.get_model_report(found)
            report.write_bytes(answer.html)
            print_message(f"{report}: the report of bundle {found}, SHA-256 {answer.sha256}")
            return
        model = client.get_model(found)
    if as_json:
        print_json_lines([model])
    else:
        show_model(make_console(), model)
