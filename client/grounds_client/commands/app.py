"""The command line as a whole: every command with its example."""

import sys
from pathlib import Path

import typer

from grounds_client.commands import audit, churn, credit, letter, models, record_log, witness
from grounds_client.commands.connection import read_credentials
from grounds_client.commands.output import print_message
from grounds_client.errors import CallFailed, LetterRefused, PullRefused, ScoringRefused, WitnessRefused
from grounds_record.errors import RecordError

# Shell completion is registered under the program's name. `python -m client` would change the completion of every
# Python command, so completion is offered by the installed script only.
_IS_INSTALLED_SCRIPT = Path(sys.argv[0]).stem == "grounds"

app = typer.Typer(
    add_completion=_IS_INSTALLED_SCRIPT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Credit decisions with their reasons, what-ifs, churn risks, models, and the audit of the record log.",
)
app.callback()(read_credentials)
app.command(
    epilog="Example: grounds score TW 26 120000TWD, or: grounds score --from applications.csv --to decisions.csv"
)(credit.score)
app.command(epilog="Example: grounds simulate TW 26 120000TWD --set PAY_0=2")(credit.simulate)
app.command(epilog="Example: grounds decision 0b0e3c1e-5f0a-4b7e-9c0e-0f4f5d1b2a3c")(credit.decision)
app.command(epilog="Example: grounds history TW 26")(credit.history)
app.command(
    epilog="Example: grounds override DECISION_ID decline --reason FRAUD_SUSPECTED --user u17 "
    "--role CREDIT_MANAGER --limit 500000TWD"
)(credit.override)
app.command(epilog="Example: grounds outcome DECISION_ID dpd --days 31 --on 2026-11-22")(credit.outcome)
app.command(
    epilog='Example: grounds letter DECISION_ID --locale de --sender "Muster GmbH, Hauptstr. 1, 10115 Berlin" '
    "--contact kredit@example.com --to letter.pdf"
)(letter.letter)
app.command(epilog="Example: grounds policy --market TW")(credit.policy)
app.command(epilog="Example: grounds models 7a2de62f2b1a")(models.models)
app.command(epilog="Example: grounds decisions --market TW --decision DECLINE --from 2026-01-01")(audit.decisions)
app.command(epilog="Example: grounds sample --seed 27182818 --size 25 --by decision")(audit.sample)
app.command(epilog="Example: grounds activations --market TW --at 2026-03-03T10:00:00")(audit.activations)
app.command(epilog="Example: grounds refusals --from 2026-11-01")(audit.refusals)
app.command(epilog='Example: grounds evidence DECISION_ID --purpose "Annual review 2026, case 17" --html case-17.html')(
    audit.evidence
)
app.command(
    epilog='Example: grounds replay DECISION_ID --purpose "Annual review 2026, case 17", or RUN US 1022 --purpose ...'
)(audit.replay)
app.command(epilog="Example: grounds checkpoint --save today.checkpoint --key grounds.pub")(record_log.checkpoint)
app.command(name="export-log", epilog="Example: grounds export-log today.log --checkpoint old.txt")(
    record_log.export_log
)
app.command(epilog="Example: grounds verify today.log --key grounds.pub --checkpoint old.txt")(record_log.verify)
app.command(epilog="Example: grounds witness state --key grounds.pub --name audit.example.com/w1 --every 60")(
    witness.witness
)

_churn = typer.Typer(
    no_args_is_help=True, help="Churn risks: the customers most at risk, one customer, or a local copy."
)
_churn.command(epilog="Example: grounds churn top US --count 10 --by value")(churn.top)
_churn.command(epilog="Example: grounds churn show US 1022")(churn.show)
_churn.command(epilog="Example: grounds churn contact US 1022 --by phone --campaign spring")(churn.contact)
_churn.command(epilog="Example: grounds churn contacts US 1022")(churn.contacts)
_churn.command(epilog="Example: grounds churn pull US --to risks.parquet")(churn.pull)
app.add_typer(_churn, name="churn")


def main() -> int:
    """Run one command. An expected failure is printed to standard error, with exit status 1."""
    try:
        app(standalone_mode=True)
    except CallFailed as error:
        print_message(f"error: {error}", err=True)
        for problem in error.problems:
            print_message(f"  {problem.field}: {problem.problem}", err=True)
        return 1
    except (OSError, LetterRefused, PullRefused, RecordError, ScoringRefused, WitnessRefused) as error:
        print_message(f"error: {error}", err=True)
        return 1
    return 0
