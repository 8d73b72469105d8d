"""The installed package: its public names, what it imports, and the console script."""

import subprocess
import sys
from pathlib import Path

import pytest

import grounds_client
from tests.conftest import ROOT


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def run_script(*words: str, name: str = "grounds", missing: str = "") -> subprocess.CompletedProcess[str]:
    """Run the console script under this name, in an environment in which the package `missing` cannot be imported."""
    block = f"sys.modules[{missing!r}] = None; " if missing else ""
    call = "from grounds_client.__main__ import main; sys.exit(main())"
    return run_python(f"import sys; {block}sys.argv[0] = {name!r}; {call}", *words)


def test_the_public_names_exist() -> None:
    assert all(hasattr(grounds_client, name) for name in grounds_client.__all__)
    assert {"Client", "CallFailed", "Amount"} <= set(grounds_client.__all__)


@pytest.mark.parametrize("package", ["client/grounds_client", "record/grounds_record", "protos/grounds"])
def test_the_package_is_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_importing_the_package_loads_grpc_and_the_contract_only() -> None:
    done = run_python("import sys, grounds_client; print(*sorted({name.split('.')[0] for name in sys.modules}))")

    loaded = set(done.stdout.split())
    assert {"grounds_client", "grpc", "grounds"} <= loaded
    assert not loaded & {
        *("models", "server", "training", "grounds_record"),
        *("numpy", "pandas", "pyarrow", "onnxruntime", "rich", "typer", "cryptography"),
    }


@pytest.mark.parametrize("package", ["typer", "rich", "cryptography", "pyarrow"])
def test_if_the_extra_is_missing_the_script_prints_how_to_install_it(package: str) -> None:
    done = run_script("churn", "pull", "DE", "--address", "127.0.0.1:1", missing=package)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: the command line needs the package {package};")
    assert done.stderr.endswith('run: pip install "grounds-client[cli]"\n')
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "count"), [("/usr/bin/grounds", 1), ("/checkout/client/__main__.py", 0), ("-c", 0)])
def test_shell_completion_is_offered_under_the_scripts_own_name_only(name: str, count: int) -> None:
    done = run_script("--help", name=name)

    assert done.returncode == 0
    assert done.stdout.count("--install-completion") == count


def test_the_modules_can_be_run_from_a_checkout() -> None:
    for module in ("client", "grounds_client"):
        command = [sys.executable, "-m", module, "--help"]
        done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)

        assert "export-log" in done.stdout
        assert "--install-completion" not in done.stdout


def test_no_folder_of_the_package_has_more_than_twenty_modules() -> None:
    folders = {path.parent for path in Path(ROOT, "client", "grounds_client").rglob("*.py")}

    assert all(len(list(folder.glob("*.py"))) <= 20 for folder in folders)
