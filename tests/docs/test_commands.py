"""Every command has help with an example, and settings are documented."""

import importlib

import pytest
from typer.testing import CliRunner

from server.config import Settings
from tests.conftest import ROOT

COMMANDS = [
    ("training", "fit"),
    ("training", "score"),
    ("server", "serve"),
    ("server", "load"),
    ("server", "activate"),
    ("server", "doctor"),
    ("server", "public-key"),
    ("server", "erase"),
    ("server", "hold"),
    ("server", "release"),
    ("server", "retain"),
    ("client", "score"),
    ("client", "simulate"),
    ("client", "decision"),
    ("client", "override"),
    ("client", "outcome"),
    ("client", "churn", "top"),
    ("client", "churn", "show"),
    ("client", "churn", "pull"),
    ("client", "models"),
    ("client", "export-log"),
    ("client", "verify"),
    ("client", "decisions"),
    ("client", "sample"),
    ("client", "evidence"),
    ("client", "replay"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_ends_with_an_example(command: tuple[str, ...]) -> None:
    app = importlib.import_module(f"{command[0]}.__main__").app

    done = CliRunner().invoke(app, [*command[1:], "--help"])

    assert done.exit_code == 0
    assert "Example: " in done.stdout


def test_every_setting_of_the_server_stands_in_its_readme_with_its_default() -> None:
    text = (ROOT / "server" / "README.md").read_text(encoding="utf-8")

    missing = [name for name in Settings.model_fields if f"| `{name}` |" not in text]

    assert not missing
