"""The commands `activate-policy` and `deactivate`, run as real processes."""

import hashlib
from pathlib import Path

from models.catalog import ACTIVE
from server.config import Settings
from tests.e2e.processes import write_config
from tests.server.commands.test_cli import run_server


def config_file(settings: Settings, folder: Path) -> str:
    """Write a configuration file with the settings that name files and databases; return its path."""
    names = ("bundles", "policy", "database", "keys", "master_key", "signing_key")
    return str(write_config(folder / "server.toml", {name: getattr(settings, name) for name in names}))


def test_activate_policy_prints_every_change_and_a_rollback_needs_the_digest_only(
    small_settings: Settings, tmp_path: Path
) -> None:
    config = config_file(small_settings, tmp_path)
    text = small_settings.policy.read_text().replace("test-1", "test-2").replace("valid_days = 14", "valid_days = 21")
    file = tmp_path / "new.toml"
    file.write_text(text)
    before = hashlib.sha256(small_settings.policy.read_bytes()).hexdigest()

    preview = run_server("activate-policy", str(file), "--preview", "--config", config)
    done = run_server("activate-policy", str(file), "--reason", "committee", "--config", config)
    back = run_server("activate-policy", before[:12], "--config", config)

    assert preview.returncode == done.returncode == back.returncode == 0, done
    table = "section                 setting     before  after\nFR STANDARD 2020-01-01  valid_days  14      21\n"
    assert preview.stdout.startswith(table)
    assert "nothing was changed" in preview.stdout
    assert done.stdout.startswith(table)
    assert f"the previous policy was test-1 ({before[:12]})" in done.stdout
    assert f"policy test-1 ({before[:12]}) is in force; changed settings: 1" in back.stdout


def test_deactivate_stops_a_market_and_refuses_one_that_is_not_active(small_settings: Settings, tmp_path: Path) -> None:
    config = config_file(small_settings, tmp_path)

    done = run_server("deactivate", "FR", "--config", config)
    refused = run_server("deactivate", "FR", "--config", config)

    assert (done.returncode, done.stdout) == (0, "credit serves FR no longer\n")
    assert 'FR = ""' in (small_settings.bundles / "credit" / ACTIVE).read_text()
    assert (refused.returncode, refused.stderr) == (
        1,
        "error: no credit bundle is active for FR; active markets: DE\n",
    )
