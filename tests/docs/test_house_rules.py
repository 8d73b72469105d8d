"""Rules of the house that no linter knows."""

import ast
import re
import subprocess

import pytest

from tests.conftest import ROOT

FUNCTION_LINES_MAX = 60
EMPTY_NAMES = {"utils", "util", "common", "helpers", "misc", "core"}
TRACKED = subprocess.run(
    ["/usr/bin/env", "git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.split()
OURS = [ROOT / name for name in TRACKED if name.endswith(".py") and "_pb2" not in name and (ROOT / name).exists()]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short_and_a_file_is_named_by_its_content(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]

    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX]
    assert not long
    assert path.stem not in EMPTY_NAMES  # type: ignore[attr-defined]


def test_nothing_of_ours_is_mocked_or_patched() -> None:
    tests = [path for path in OURS if "tests" in path.parts]

    found = [
        path for path in tests if re.search(r"unittest[.]mock|Magic[M]ock|monkeypatch[.]setattr", path.read_text())
    ]

    assert not found


def test_every_dependency_says_in_one_line_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[build-system]")]

    bare = [line for line in block.splitlines() if re.match(r'\s+"', line) and "#" not in line]

    assert not bare
