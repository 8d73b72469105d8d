"""Terminal output of churn predictions: the band, the value at stake, the drivers, and how the log-odds add up."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounds.churn.v1 import churn_pb2
from grounds_client.formatting import band_name, contact_text, enum_name, money_text, probability_text, value_text
from grounds_client.terminal.console import add_row, lines_cell, make_table, print_line
from grounds_client.terminal.credit import show_reasons

_BAND_COLOURS = {"LOW": "green", "MEDIUM": "yellow", "HIGH": "red", "CRITICAL": "bold red"}
_UNKNOWN_COLOUR = "magenta"  # of a band that this version does not know


def show_risk(console: Console, risk: churn_pb2.ChurnRisk) -> None:
    """Print one customer's prediction with every contribution, or the reason why there is no score."""
    _show_standing(console, risk)
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        show_reasons(console, risk.drivers, "Why")
        console.print(_log_odds_table(risk))


def show_risks(console: Console, risks: Sequence[churn_pb2.ChurnRisk]) -> None:
    """Print a list of scored customers with the value at stake and the drivers."""
    table = make_table()
    for title in ("customer", "risk", "band", "since", "at stake"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("why")
    for risk in risks:
        band = band_name(risk.risk_band)
        add_row(
            table,
            _customer(risk),
            probability_text(risk.churn_probability),
            Text(band, _BAND_COLOURS.get(band, _UNKNOWN_COLOUR)),
            _day(risk.band_since_time),
            money_text(risk.value_at_risk),
            lines_cell([*_withheld_mark(risk), *(reason.text for reason in risk.drivers.reasons)]),
        )
    console.print(table)


def _withheld_mark(risk: churn_pb2.ChurnRisk) -> list[str]:
    """Return the line that marks a withheld customer; no line for any other customer."""
    return [] if risk.action_allowed else [f"do not contact, {contact_text(risk)}"]


def _show_standing(console: Console, risk: churn_pb2.ChurnRisk) -> None:
    """Print the band or status, the value at stake, the validity, and whether a campaign may contact the customer."""
    status = enum_name(churn_pb2.ChurnStatus, risk.status)
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        band = band_name(risk.risk_band)
        before = f", before that {band_name(risk.previous_band)}" if risk.previous_band else ""
        head = (f" {band} ", f"reverse {_BAND_COLOURS.get(band, _UNKNOWN_COLOUR)}")
        standing = f"  customer {_customer(risk)}, rank {risk.rank}, {band} since {_day(risk.band_since_time)}{before}"
        print_line(console, head, standing)
        print_line(
            console,
            f"probability of leaving {probability_text(risk.churn_probability)}, at stake {money_text(risk.value_at_risk)} "
            f"of {money_text(risk.expected_spend)} expected",
        )
        if risk.HasField("decline_probability"):
            print_line(console, f"probability that the spend declines {probability_text(risk.decline_probability)}")
    else:
        print_line(console, (f" {status} ", "reverse"), f"  customer {_customer(risk)}")
    validity = f"as of {_day(risk.as_of_time)}, valid until {_day(risk.valid_until_time)}"
    print_line(console, f"{status}, {validity}; {contact_text(risk)}")


def _log_odds_table(risk: churn_pb2.ChurnRisk) -> Table:
    """Return the waterfall of log-odds, the strongest contribution first."""
    table = make_table()
    for title in ("how the log-odds add up", "value", "log-odds", "so far"):
        table.add_column(title, justify="left" if title.startswith("how") else "right")
    total = risk.explanation.base_value
    add_row(table, "average of the baseline", "", f"{total:.4f}", f"{total:.4f}")
    for line in sorted(risk.explanation.contributions, key=lambda line: -abs(line.log_odds)):
        total += line.log_odds
        add_row(table, line.feature, value_text(line.value), f"{line.log_odds:+.4f}", f"{total:.4f}")
    table.add_section()
    add_row(table, "log-odds", "", f"{risk.log_odds:.4f}", f"{total:.4f}", style="bold")
    return table


def _customer(risk: churn_pb2.ChurnRisk) -> str:
    """Return market and customer_id as text."""
    return f"{risk.customer.market} {risk.customer.customer_id}"


def _day(time: Timestamp) -> str:
    """Return a day as text."""
    return f"{time.ToDatetime():%Y-%m-%d}"
