"""Churn risks as a person in the CRM reads them: band, what is at stake and why, then how it adds up."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounds.churn.v1 import churn_pb2
from grounds_client.show import add_row, money, short, show_reasons
from grounds_client.values import value_text

BAND_COLOURS = {"LOW": "green", "MEDIUM": "yellow", "HIGH": "red", "CRITICAL": "bold red"}


def show_risk(console: Console, risk: churn_pb2.ChurnRisk) -> None:
    """Show one customer's churn risk with every push, or why there is none."""
    show_standing(console, risk)
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        show_reasons(console, risk.drivers, "Why")
        console.print(sum_table(risk))


def show_standing(console: Console, risk: churn_pb2.ChurnRisk) -> None:
    """Show band or status, what is at stake, until when it holds, and whether somebody may act."""
    status = short(churn_pb2.ChurnStatus.Name(risk.status), "CHURN_STATUS_")
    if risk.status == churn_pb2.CHURN_STATUS_SCORED:
        band = band_name(risk.risk_band)
        before = f", before that {band_name(risk.previous_band)}" if risk.previous_band else ""
        head = (f" {band} ", f"reverse {BAND_COLOURS[band]}")
        standing = f"  customer {key(risk)}, rank {risk.rank}, {band} since {day(risk.band_since_time)}{before}"
        console.print(Text.assemble(head, standing))
        console.print(
            f"probability of leaving {risk.churn_probability:.2%}, at stake {money(risk.value_at_risk)} "
            f"of {money(risk.expected_spend)} expected"
        )
        if risk.HasField("decline_probability"):
            console.print(f"probability that the spend declines {risk.decline_probability:.2%}")
    else:
        console.print(Text.assemble((f" {status} ", "reverse"), f"  customer {key(risk)}"))
    console.print(f"{status}, as of {day(risk.as_of_time)}, valid until {day(risk.valid_until_time)}; {action(risk)}")


def action(risk: churn_pb2.ChurnRisk) -> str:
    """Say whether the customer may be a target."""
    why = [*(["held out"] if risk.hold_out else []), *risk.suppressions]
    return "may be contacted" if risk.action_allowed else f"no action{': ' + ', '.join(why) if why else ''}"


def sum_table(risk: churn_pb2.ChurnRisk) -> Table:
    """Show how the log-odds add up."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("how the log-odds add up", "value", "log-odds", "so far"):
        table.add_column(title, justify="left" if title.startswith("how") else "right")
    so_far = risk.explanation.base_value
    add_row(table, "average of the baseline", "", f"{so_far:.4f}", f"{so_far:.4f}")
    for line in sorted(risk.explanation.contributions, key=lambda line: -abs(line.log_odds)):
        so_far += line.log_odds
        add_row(table, line.feature, value_text(line.value), f"{line.log_odds:+.4f}", f"{so_far:.4f}")
    table.add_section()
    add_row(table, "log-odds", "", f"{risk.log_odds:.4f}", f"{so_far:.4f}", style="bold")
    return table


def show_risks(console: Console, risks: Sequence[churn_pb2.ChurnRisk]) -> None:
    """Show a list of customers at risk with what is at stake and why."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("customer", "risk", "band", "since", "at stake"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("why")
    for risk in risks:
        band = band_name(risk.risk_band)
        why = "\n".join(reason.text for reason in risk.drivers.reasons)
        add_row(
            table,
            key(risk),
            f"{risk.churn_probability:.1%}",
            Text(band, BAND_COLOURS[band]),
            day(risk.band_since_time),
            money(risk.value_at_risk),
            why,
        )
    console.print(table)


def band_name(band: churn_pb2.RiskBand) -> str:
    """Give a band's name."""
    return short(churn_pb2.RiskBand.Name(band), "RISK_BAND_")


def key(risk: churn_pb2.ChurnRisk) -> str:
    """Write a customer's key."""
    return f"{risk.customer.market} {risk.customer.customer_id}"


def day(time: Timestamp) -> str:
    """Write a day."""
    return f"{time.ToDatetime():%Y-%m-%d}"
