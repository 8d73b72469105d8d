"""The package that auditors install: its public names, its only dependency `cryptography`, and Python 3.10."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import grounds_record
from grounds_record import export_file
from tests.record.logs import KEY, LOG, NEW, OLD, SIZE

FOLDER = Path(grounds_record.__file__).parent
SOURCES = sorted(FOLDER.glob("*.py"))
# Python 3.10 lacks these names of the standard library.
NEWER_THAN_3_10 = {
    "StrEnum",
    "UTC",
    "ExceptionGroup",
    "BaseExceptionGroup",
    "tomllib",
    "Self",
    "LiteralString",
    "batched",
}


def test_every_public_name_exists_and_none_is_a_module() -> None:
    assert grounds_record.__all__ == sorted(grounds_record.__all__)
    for name in grounds_record.__all__:
        assert callable(getattr(grounds_record, name)), name


def test_every_error_is_public() -> None:
    errors = {name for name in vars(grounds_record.errors) if name[0].isupper()}

    assert errors <= set(grounds_record.__all__)


def test_the_package_imports_only_cryptography_and_the_standard_library() -> None:
    program = "import sys; import grounds_record; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program_with_path(program)], capture_output=True, text=True, check=True
    )

    others = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"grounds_record", "cryptography"}
    assert not {name for name in others if not name.startswith("_")}


def program_with_path(program: str) -> str:
    """Return the program with a first statement that sets the import search path of this process."""
    return f"import sys; sys.path[:] = {sys.path!r}; {program}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_sources_are_valid_in_python_3_10(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 10))

    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in imports for alias in node.names}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not (imported | attributes) & NEWER_THAN_3_10


def test_the_example_in_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_file.write_export(Path("log.jsonl"), grounds_record.Export(start=0, records=LOG.rows), NEW)
    Path("grounds.pub").write_text(f"{KEY.verifier().text()}\n")
    Path("kept.checkpoint").write_text(OLD)
    example = "\n".join(
        line.removeprefix("    ") for line in (grounds_record.__doc__ or "").splitlines() if line.startswith("    ")
    )

    done = subprocess.run(
        [sys.executable, "-c", program_with_path("pass") + "\n" + example], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith(f"{SIZE} records, 0 up to {SIZE}: verified, the checkpoint of 60 records holds")
