"""The help of every command ends with an example, and the README documents every setting of the server."""

import importlib

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from server.config import Settings
from tests.conftest import ROOT

APPS = {
    name: importlib.import_module(f"{name}.__main__").app for name in ("training", "server", "client", "tests.bench")
}


def commands_of(command: object, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every subcommand; if the command has no subcommands, return the words of the command."""
    if not isinstance(command, TyperGroup):
        return [words]
    return [found for name, one in command.commands.items() for found in commands_of(one, (*words, name))]


COMMANDS = [(name, *words) for name, app in APPS.items() for words in commands_of(typer.main.get_command(app))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_ends_with_an_example(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(APPS[command[0]], [*command[1:], "--help"])

    assert done.exit_code == 0
    assert "Example: " in done.stdout


def test_a_new_command_without_an_example_is_noticed() -> None:
    app, below = typer.Typer(), typer.Typer()
    app.add_typer(below, name="below")
    app.command(name="one", epilog="Example: one")(lambda: None)
    below.command(name="two")(lambda: None)

    assert commands_of(typer.main.get_command(app)) == [("one",), ("below", "two")]
    assert "Example: " in CliRunner().invoke(app, ["one", "--help"]).stdout
    assert "Example: " not in CliRunner().invoke(app, ["below", "two", "--help"]).stdout
    assert {("training", "features"), ("training", "export"), ("client", "churn", "pull")} <= set(COMMANDS)


def test_the_readme_of_the_server_lists_every_setting() -> None:
    text = (ROOT / "server" / "README.md").read_text(encoding="utf-8")

    missing = [name for name in Settings.model_fields if f"| `{name}` |" not in text]

    assert not missing


def test_the_readme_of_the_client_has_every_command() -> None:
    text = (ROOT / "client" / "README.md").read_text(encoding="utf-8")

    missing = [words for name, *words in COMMANDS if name == "client" and f"`grounds {' '.join(words)}" not in text]

    assert not missing
