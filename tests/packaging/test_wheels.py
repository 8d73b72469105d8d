"""Both distributions as wheels: what they contain, and the client beside an application with its own similar packages."""

import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

APPLICATION = """
import {first}, {second}
import client, server
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client import Client

assert (client.OWNER, server.OWNER) == ("application", "application")
rules = validate_pb2.FieldRules(required=True)
options = descriptor_pb2.FieldOptions()
options.Extensions[validate_pb2.field].CopyFrom(rules)
assert validate_pb2.FieldRules.FromString(rules.SerializeToString()) == rules
request = credit_pb2.ScoreCreditRequest(request_id="1")
assert credit_pb2.ScoreCreditRequest.FromString(request.SerializeToString()) == request
print(validate_pb2.__file__, credit_pb2.__file__, sys.modules["grounds_record"].__file__, sep="\\n")
"""
SOURCES = {
    ROOT: ("console", "models", "server", "training"),
    ROOT / "client": ("grounds_client",),
    ROOT / "record": ("grounds_record",),
    ROOT / "protos": ("grounds",),
}
DATA_FILES = {".toml", ".sql", ".css", ".typed", ".csv"}
GENERATED = {".db", ".sqlite", ".key", ".parquet", ".onnx"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both wheels, with the build backend of this environment."""
    folder = tmp_path_factory.mktemp("wheels")
    run_pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, ROOT, ROOT / "client")
    return {path.name.split("-")[0]: path for path in folder.iterdir()}


def run_pip(*arguments: str | Path) -> None:
    """Run pip of this environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(wheel: Path) -> set[str]:
    """Return the files of a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}


def metadata_of(wheel: Path) -> str:
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()


def test_a_wheel_installs_these_packages_and_nothing_else(wheels: dict[str, Path]) -> None:
    packages = {name: {path.split("/")[0] for path in files_of(wheel)} for name, wheel in wheels.items()}

    assert packages == {
        "grounds_client": {"grounds", "grounds_client", "grounds_record"},
        "grounds": {"console", "models", "server", "training"},
    }


def test_no_wheel_contains_a_bundle_a_database_or_a_key(wheels: dict[str, Path]) -> None:
    unwanted = [
        name
        for wheel in wheels.values()
        for name in files_of(wheel)
        if name.startswith("models/bundles") or any(suffix in name for suffix in GENERATED) or "__pycache__" in name
    ]

    # The training data of the examples are committed, with their attribution.
    assert [name for name in unwanted if not name.startswith("training/data/")] == []


def test_the_wheels_contain_every_file_that_is_read_at_run_time(wheels: dict[str, Path]) -> None:
    server = {name for name in files_of(wheels["grounds"]) if name.startswith("server/")}
    client = files_of(wheels["grounds_client"])

    assert {"server/policy.toml", "server/retention.toml"} <= server
    assert {f"{package}/py.typed" for package in ("console", "server", "training", "models")} <= files_of(
        wheels["grounds"]
    )
    assert {f"{package}/py.typed" for package in ("grounds", "grounds_client", "grounds_record")} <= client
    for folder in ("migrations", "key_migrations"):
        assert f"server/stores/{folder}/env.py" in server
        versions = {path.name for path in (ROOT / "server" / "stores" / folder / "versions").glob("*.py")}
        assert {f"server/stores/{folder}/versions/{name}" for name in versions} <= server


def test_the_wheels_contain_every_data_file_of_the_packages(wheels: dict[str, Path]) -> None:
    files = set.union(*(files_of(wheel) for wheel in wheels.values()))

    expected = {
        path.relative_to(base).as_posix()
        for base, packages in SOURCES.items()
        for package in packages
        for path in (base / package).rglob("*")
        if path.suffix in DATA_FILES and not path.is_relative_to(ROOT / "models" / "bundles")
    }
    assert any(path.endswith(".css") for path in expected)
    assert any(path.endswith(".sql") for path in expected)
    assert expected - files == set()


def test_neither_wheel_has_an_upper_bound_of_python(wheels: dict[str, Path]) -> None:
    requires = {
        name: next(line for line in metadata_of(wheel).splitlines() if line.startswith("Requires-Python"))
        for name, wheel in wheels.items()
    }

    assert requires == {"grounds_client": "Requires-Python: >=3.10", "grounds": "Requires-Python: >=3.11"}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the client's wheel alone into a folder."""
    folder = tmp_path_factory.mktemp("installed")
    run_pip("install", "--no-deps", "--no-index", "--target", folder, wheels["grounds_client"])
    return folder


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an application that has packages named client and server, and generated buf.validate, of its own."""
    folder = tmp_path_factory.mktemp("application")
    for name in ("client", "server"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text('OWNER = "application"\n')
    generate_validate(folder)
    return folder


def generate_validate(folder: Path) -> None:
    """Generate buf/validate/validate_pb2.py as any user of protovalidate does."""
    code = (
        "import sys; from contract import validate_files; sys.stdout.buffer.write(validate_files().SerializeToString())"
    )
    descriptors = folder / "validate.binpb"
    descriptors.write_bytes(
        subprocess.run([sys.executable, "-c", code], cwd=ROOT / "protos", check=True, capture_output=True).stdout
    )
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--descriptor_set_in={descriptors}",
        f"--python_out={folder}",
    ]
    subprocess.run([*command, "buf/validate/validate.proto"], check=True)


def isolated_environment(application: Path, installed: Path) -> Iterator[str]:
    """Yield the entries of sys.path: the application, the client's wheel, and other distributions."""
    yield from (str(application), str(installed))
    yield from {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}


def run_isolated(path: list[str], folder: Path, *words: str) -> str:
    """Run Python with exactly this path: -S ignores .pth files, so that no checkout that is installed editable is found."""
    environment = {"PYTHONPATH": ":".join(path), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-S", *words], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("first", "second"),
    [("buf.validate.validate_pb2", "grounds_client"), ("grounds_client", "buf.validate.validate_pb2")],
)
def test_the_client_works_beside_an_application_with_its_own_client_server_and_validation_rules(
    application: Path, installed: Path, tmp_path: Path, first: str, second: str
) -> None:
    path = list(isolated_environment(application, installed))

    code = "import sys\n" + APPLICATION.format(first=first, second=second)
    validate, contract, record = run_isolated(path, tmp_path, "-c", f"import grounds_record\n{code}").splitlines()

    assert Path(validate).is_relative_to(application)
    assert Path(contract).is_relative_to(installed)
    assert Path(record).is_relative_to(installed)


def test_the_clients_command_line_works_there_too(application: Path, installed: Path, tmp_path: Path) -> None:
    path = list(isolated_environment(application, installed))

    assert "score" in run_isolated(path, tmp_path, "-m", "grounds_client", "--help")
