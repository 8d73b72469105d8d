"""Assembles the command line and runs it: `grounds-server`, or `python -m server` in a checkout."""

from typing import Any

import typer
from typer.core import TyperGroup

from models.isolation.core_dumps import forbid_core_dumps
from server.commands.backup import backup, restore
from server.commands.catalog import activate, approve, deactivate, retire
from server.commands.clock import confirm_clock
from server.commands.contacts import contacts
from server.commands.customers import erase, hold, release
from server.commands.dev_certs import dev_certs
from server.commands.doctor import doctor
from server.commands.forks import adopt_fork
from server.commands.keys import keys, public_key
from server.commands.loading import load
from server.commands.options import runs_as_script
from server.commands.policy import activate_policy
from server.commands.retention import retain
from server.commands.serving import serve
from server.commands.watch import watch
from server.commands.window import replay_window
from server.exit_status import run_command


class _ServeByDefault(TyperGroup):
    """Runs `serve` if the command line does not begin with a command, as in `python -m server --config CONFIG.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `serve` before the arguments, unless they begin with a command or with an option of the program."""
        own_options = {
            name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)
        }
        if not args or args[0] not in {*self.commands, *own_options}:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ServeByDefault,
    # Shell completion is registered for the name of the program, which would be `python` for `python -m server`.
    add_completion=runs_as_script(),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Serve credit scores and churn predictions, and maintain their database. The default command is serve.",
)
app.command(epilog="Example: GROUNDS_PORT=0 python -m server serve --config CONFIG.toml")(serve)
app.command(epilog="Example: python -m server load files/credit.features.parquet files/churn.run.parquet")(load)
app.command(epilog="Example: python -m server activate 4c7ab9fd86a1 --market TW")(activate)
app.command(epilog="Example: python -m server deactivate TW")(deactivate)
app.command(epilog="Example: python -m server retire 4c7ab9fd86a1 --reason 'replaced in March'")(retire)
app.command(epilog="Example: python -m server approve 019adf31")(approve)
app.command(epilog="Example: python -m server activate-policy policy.toml --reason 'credit committee, 3 March'")(
    activate_policy
)
app.command(
    epilog="Example: python -m server replay-window --from 2026-03-01 --to 2026-04-01 --policy candidate.toml "
    "--purpose 'credit committee, May' --html may.html"
)(replay_window)
app.command(
    epilog="Example: python -m server watch --purpose 'monthly monitoring' --html watch.html --figures watch.prom"
)(watch)
app.command(
    epilog="Example: python -m server contacts --from 2026-03-01 --until 2026-04-01 --purpose 'effect of the March calls'"
)(contacts)
app.command(epilog="Example: python -m server doctor --config CONFIG.toml")(doctor)
app.command(epilog="Example: python -m server public-key > grounds.pub")(public_key)
app.add_typer(keys, name="keys")
app.command(epilog="Example: python -m server backup /backup/records.db /keys-backup/keys.db")(backup)
app.command(epilog="Example: python -m server restore /backup/records.db /keys-backup/keys.db")(restore)
app.command(name="dev-certs", epilog="Example: python -m server dev-certs certificates")(dev_certs)
app.command(epilog="Example: python -m server erase TW 188 --reason 'request 2026-114' --apply")(erase)
app.command(epilog="Example: python -m server hold TW 188 --reason 'lawsuit 7 O 42/26'")(hold)
app.command(epilog="Example: python -m server release 019adf31 --reason 'settled'")(release)
app.command(epilog="Example: python -m server retain --apply")(retain)
app.command(epilog="Example: python -m server adopt-fork --reason 'restored the backup of 3 March, ticket 114'")(
    adopt_fork
)
app.command(epilog="Example: python -m server confirm-clock --today 2026-11-30 --reason 'idle since August' --apply")(
    confirm_clock
)


def main() -> int:
    """Run a command, and return the exit status."""
    forbid_core_dumps()
    return run_command(app)
