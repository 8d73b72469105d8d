"""The commands `erase`, `hold` and `release`, for the data of customers. `erase` changes data only with --apply."""

from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.options import Apply, Config, Reason, checked_clock, command_line, open_record_log
from server.commands.output import print_line
from server.config import read_settings

if TYPE_CHECKING:  # at run time, each command imports only the modules that it needs
    from server.maintenance.erasure import ErasurePlan

_RELEASE_REASON = "hold no longer required"  # the reason in the command that `hold` prints

Market = Annotated[str, typer.Argument(metavar="MARKET", help="Country, two uppercase letters.")]
Customers = Annotated[list[str], typer.Argument(metavar="CUSTOMER...", help="One or more customer numbers.")]
CustomerId = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer number.")]
HoldId = Annotated[
    str,
    typer.Argument(
        metavar="HOLD_ID", help="The id that `hold` printed, or an unambiguous prefix of 8 or more characters."
    ),
]
Unknown = Annotated[bool, typer.Option("--unknown", help="Accept a customer about whom the database has no data yet.")]


def erase(market: Market, customers: Customers, reason: Reason, apply: Apply = False, config: Config = None) -> None:
    """Erase customers: destroy their keys, delete their features and run rows, and record the erasure. Irreversible."""
    from server.maintenance.erasure import check_customer, erase_customers, preview_erasure

    settings = read_settings(config)
    keys = [check_customer(market, customer) for customer in customers]
    with open_record_log(settings) as log:
        if not apply:
            for key in keys:
                print_line(f"{' '.join(key)}: {_plan_text(preview_erasure(log, key, reason), applied=False)}")
            print_line("nothing was changed; to erase, add --apply")
            return
        clock = checked_clock(log.database, settings, removes=True)
        for key, plan in erase_customers(log, keys, reason, clock.now, settings.churn_token_days):
            print_line(f"{' '.join(key)}: {_plan_text(plan, applied=True)}")
    days = 2 * settings.churn_token_days
    print_line(
        "the data are deleted, and the database files were rewritten. If a customer was in a run, the customer number remains "
        f"for {days:g} days, so that copies of the run can be updated. Delete backups and loaded files yourself."
    )


def hold(market: Market, customer: CustomerId, reason: Reason, unknown: Unknown = False, config: Config = None) -> None:
    """Place a legal hold. Until the hold is released, no data about the customer can be erased or removed."""
    from server.maintenance.erasure import check_customer
    from server.maintenance.holds import hold_customer

    key = check_customer(market, customer)
    settings = read_settings(config)
    with open_record_log(settings) as log:
        now = checked_clock(log.database, settings).now()
        hold_id, plan = hold_customer(log, key, reason, now, allow_unknown=unknown)
    print_line(
        f"{market} {customer}: hold {hold_id} covers {plan.records:,} records, {plan.feature_rows:,} feature rows and "
        f"{len(plan.run_rows):,} run rows"
    )
    print_line(f"to release it: {command_line('release', hold_id, '--reason', _RELEASE_REASON, config=config)}")


def release(hold_id: HoldId, reason: Reason, config: Config = None) -> None:
    """Release a legal hold. Other holds on the same customer remain."""
    from server.maintenance.holds import release_by_id

    settings = read_settings(config)
    with open_record_log(settings) as log:
        released = release_by_id(log, hold_id, reason, checked_clock(log.database, settings).now())
    print_line(f"hold {released}: released")


def _plan_text(plan: "ErasurePlan", *, applied: bool) -> str:
    """Return a sentence about what an erasure removes or, if `applied`, has removed."""
    if not plan.is_new:
        return "erased earlier; " + (
            "the erasure was completed again" if applied else "--apply would complete the erasure again"
        )
    verb = "erased" if applied else "would erase"
    return (
        f"{verb} {len(plan.present_keys):,} key(s) that decrypt {plan.records:,} records, "
        f"{plan.feature_rows:,} feature rows, {len(plan.run_rows):,} run rows"
    )
