"""`doctor`: check the whole database, and what it depends on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.options import Config, PositionalConfig, open_database, single_config
from server.commands.output import print_json, print_line
from server.config import read_settings

if TYPE_CHECKING:  # at run time, the command imports the checks only when it runs
    from server.maintenance.surroundings import Finding

_EXIT_STATUS = {"ok": 0, "warning": 4, "error": 1}
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document with all findings.")]


def doctor(positional: PositionalConfig = None, config: Config = None, as_json: _Json = False) -> None:  # noqa: FBT002 - an option
    """Check the whole database, and disks, certificates, clock, anchors, and the age of features and runs.

    The exit status is 0 if every check passed, 4 if there are only warnings, and 1 if a check failed.
    """
    from grounds_record.errors import RecordError
    from models.errors import ModelError
    from server.errors import OperatorError, ServerError
    from server.maintenance.surroundings import Finding, Severity

    try:
        findings = _examine(single_config(config, positional))
    except (OperatorError, ServerError, RecordError, ModelError) as error:
        if not as_json:
            raise
        findings = [Finding("start", Severity.ERROR, " ".join(filter(None, (str(error), getattr(error, "cause", "")))))]
    order = [severity.value for severity in Severity]
    worst = max((finding.severity.value for finding in findings), key=order.index, default="ok")
    if as_json:
        listed = [{"check": each.check, "severity": each.severity.value, "text": each.text} for each in findings]
        print_json({"severity": worst, "findings": listed})
    else:
        for each in findings:
            if each.check == "database":
                print_line(each.text)
            elif each.severity is not Severity.OK:
                print_line(f"{each.severity.value}: {each.text}")
    if worst != "ok":
        raise typer.Exit(_EXIT_STATUS[worst])


def _examine(path: Path | None) -> "list[Finding]":
    """Run every check, and return the findings.

    Args:
        path: Path of the configuration file; None if there is none.
    """
    from server.maintenance.doctor import diagnose
    from server.maintenance.surroundings import Finding, Severity, check_currency, check_surroundings

    settings = read_settings(path)
    with open_database(settings) as database:
        diagnosis = diagnose(database, settings)
        severity = Severity.OK if diagnosis.healthy else Severity.ERROR
        return [
            *(Finding("database", severity, sentence) for sentence in diagnosis.sentences),
            *check_surroundings(settings),
            *check_currency(database, settings),
        ]
