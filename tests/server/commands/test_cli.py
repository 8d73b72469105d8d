"""The command line as real processes: the configuration, warnings about new files, and shell completion."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from tests.conftest import ROOT, key_settings
from tests.e2e.processes import write_config

NEW_FILES = {
    "database": "log.db",
    "database of customers' keys": "keys.db",
    "master key": "master.key",
    "signing key": "signing.key",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a configuration whose database, keys and bundles do not exist yet."""
    settings = {
        "database": f"sqlite:///{tmp_path / 'log.db'}",
        "bundles": tmp_path / "bundles",
        "port": 0,
        **key_settings(tmp_path),
    }
    return write_config(tmp_path / "the config.toml", settings)


def run_server(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the server; return the completed process with its output."""
    command = [sys.executable, "-m", "server", *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)


def events_until_serving(folder: Path, *words: str) -> list[dict[str, str]]:
    """Start a server, wait until it listens, stop it, and return its application log."""
    log = folder / "server.log"
    with log.open("w") as lines:
        process = subprocess.Popen([sys.executable, "-m", "server", *words], cwd=ROOT, stderr=lines)
    try:
        deadline = time.monotonic() + 60
        while '"event": "serving"' not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_first_start_warns_of_each_new_file_and_of_missing_bundles_and_a_second_does_not(
    config: Path, tmp_path: Path
) -> None:
    first = events_until_serving(tmp_path, "--config", str(config))
    (tmp_path / "bundles").mkdir()
    second = events_until_serving(tmp_path, "serve", "--config", str(config))

    unprotected = "callers are not identified and connections are not encrypted; only this machine can connect"
    warnings = {event["event"]: event.get("path") for event in first if event["level"] == "warning"}
    expected = {f"creating a new {kind}": str(tmp_path / name) for kind, name in NEW_FILES.items()}
    unsigned = "signatures of bundles are not verified, because bundle_keys is empty"
    missing = {"bundles folder missing": str(tmp_path / "bundles")}
    assert warnings == {**expected, **missing, unprotected: None, unsigned: None}
    assert [event["event"] for event in second if event["level"] == "warning"] == [unprotected, unsigned]


def test_a_command_that_creates_files_names_each_on_stderr_once(config: Path, tmp_path: Path) -> None:
    first = run_server("retain", "--config", str(config))
    second = run_server("retain", "--config", str(config))

    assert first.returncode == second.returncode == 0
    for kind, name in NEW_FILES.items():
        assert f"created a new {kind} at {tmp_path / name}; if you expected an existing one, check `" in first.stderr
    assert second.stderr == ""
    assert "created" not in first.stdout


def test_a_command_that_fails_names_the_database_that_it_created_all_the_same(config: Path, tmp_path: Path) -> None:
    done = run_server("doctor", "--config", str(config))

    assert done.returncode == 1
    assert (
        f"created a new database at {tmp_path / 'log.db'}; if you expected an existing one, check `database`\n"
        in done.stderr
    )
    assert "signing.key" in done.stderr


def test_activate_names_a_bundles_folder_that_does_not_exist(config: Path, tmp_path: Path) -> None:
    done = run_server("activate", "4c7ab9fd86a1", "--config", str(config))

    assert done.returncode == 1
    assert f"the bundles folder {tmp_path / 'bundles'} does not exist; check `bundles`" in done.stderr


def test_the_configuration_is_also_accepted_as_an_argument_but_not_twice(config: Path, tmp_path: Path) -> None:
    """The argument is deprecated but still accepted."""
    served = events_until_serving(tmp_path, str(config))
    option, argument = run_server("public-key", "--config", str(config)), run_server("public-key", str(config))
    both = run_server("public-key", str(config), "--config", str(config))

    assert served[-1]["event"] == "stopped"
    assert option.returncode == argument.returncode == 0
    assert option.stdout == argument.stdout != ""
    assert both.returncode == 2
    assert "specify only one configuration" in both.stderr


def test_a_full_or_closed_standard_output_is_an_error_in_one_sentence(config: Path) -> None:
    run_server("keys", "init", "--config", str(config))
    command = [sys.executable, "-m", "server", "public-key", "--config", str(config)]

    with Path("/dev/full").open("w") as full:
        on_full = subprocess.run(command, cwd=ROOT, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    closed = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *command], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert (on_full.returncode, on_full.stderr) == (1, "error: standard output: No space left on device\n")
    assert (closed.returncode, closed.stderr) == (1, "error: standard output: Bad file descriptor\n")


def test_a_server_with_a_closed_standard_error_serves(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "server", "--config", str(config)]
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command], cwd=ROOT, env=os.environ | {"GROUNDS_PORT": str(port)}
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(60)
    finally:
        process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0


def test_the_command_that_hold_prints_works_as_typed(config: Path) -> None:
    held = run_server("hold", "DE", "C1", "--reason", "lawsuit", "--unknown", "--config", str(config))
    command = held.stdout.splitlines()[-1].removeprefix("to release it: ")

    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    released = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60
    )

    assert f"--config '{config}'" in command, "the path has a space"
    assert released.returncode == 0, released.stderr
    assert released.stdout.endswith(": released\n")


def test_completion_is_offered_by_the_console_script_only(tmp_path: Path) -> None:
    """Completion for `python -m server` would apply to every command that starts with `python`."""
    script = tmp_path / "grounds-server"
    script.write_text("import sys\nfrom server.commands.cli import main\nsys.exit(main())\n")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
    }

    module, console = (
        subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=60
        )
        for words in (("-m", "server", "--install-completion", "bash"), (str(script), "--show-completion", "bash"))
    )

    assert module.returncode == 2
    assert list(home.iterdir()) == []
    assert console.returncode == 0, console.stderr
    assert "grounds-server" in console.stdout
    assert "python" not in console.stdout
