"""The command `retire`, with and without the approval of a second person."""

from pathlib import Path

from typer.testing import CliRunner, Result

from server.__main__ import app
from server.config import Settings
from tests.server.commands.test_policy import config_file


def run(*words: str) -> Result:
    """Run a command of the server."""
    return CliRunner().invoke(app, [*words])


def test_retiring_a_retired_bundle_proposes_nothing(small_settings: Settings, tmp_path: Path) -> None:
    config = config_file(small_settings, tmp_path)
    bundle_id = next(path.name for path in (small_settings.bundles / "credit").iterdir() if path.is_dir())
    assert run("deactivate", "DE", "FR", "--config", config).exit_code == 0
    first = run("retire", bundle_id, "--config", config)
    assert (first.exit_code, "is retired" in first.output) == (0, True), first.output
    with Path(config).open("a") as lines:
        lines.write("four_eyes = true\n")

    again = run("retire", bundle_id, "--config", config)

    assert (again.exit_code, again.output) == (
        0,
        f"credit {bundle_id[:12]} was retired already; nothing was changed\n",
    )
