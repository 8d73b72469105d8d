"""Every message with which the reader of tables and logs rejects something states what to do."""

import ast
from collections.abc import Iterator

from tests.conftest import ROOT
from tests.training.sources.refusal_screens import INSTRUCTION

READERS = [*(ROOT / "training/sources").rglob("*.py"), *(ROOT / "training/inspection").glob("*.py")]
ERRORS = {"DataInvalid", "SpecInvalid"}
# Calls that raise sentences of other functions or tables; test_strict_tables.py, test_strict_logs.py and
# test_text_format.py check these sentences.
JOINED = {"table.py": 1, "text_format.py": 1, "unreadable.py": 1}


def texts(node: ast.AST) -> str:
    """Return the constant texts of a syntax tree."""
    constants = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
    return "".join(value for value in constants if isinstance(value, str))


def refusals(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every refusal in a module; the text includes the functions and constants that it uses."""
    tree = ast.parse(source)
    named: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            named[node.name] = texts(node)
        elif isinstance(node, ast.Assign):
            named |= {one.id: texts(node.value) for one in ast.walk(node) if isinstance(one, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
            used = {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node)}
            yield node.lineno, " ".join([texts(node), *(text for name, text in named.items() if name in used)])


def without_instruction(source: str) -> list[int]:
    """Return the lines of the refusals that do not state what to do."""
    return [line for line, text in refusals(source) if not INSTRUCTION.search(text)]


def test_every_refusal_of_the_reader_states_what_to_do() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in READERS}

    found = {name: lines for name, source in sources.items() if (lines := without_instruction(source))}

    assert sum(len([*refusals(source)]) for source in sources.values()) > 80
    assert {name: len(lines) for name, lines in found.items()} == JOINED, found


def test_a_refusal_without_an_instruction_is_found() -> None:
    planted = 'def read(name):\n    raise DataInvalid(f"{name}: the file is bad")\n'

    assert without_instruction(planted) == [2]
    assert without_instruction(planted.replace("is bad", "is bad; correct it")) == []
