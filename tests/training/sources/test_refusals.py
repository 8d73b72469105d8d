"""Every message with which training rejects a file, a spec, a model or a run states what to do."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import ROOT
from tests.training.sources.refusal_screens import INSTRUCTION

FOLDERS = ("sources", "inspection", "spec", "scoring", "release", "commands", "measures", "evaluation")
MODULES = [path for name in FOLDERS for path in sorted((ROOT / "training" / name).rglob("*.py"))]
MODULES += sorted((ROOT / "training").glob("*.py"))
ERRORS = {"DataInvalid", "SpecInvalid", "ModelRejected"}
# Functions whose results are sentences of a refusal. Another function joins them and raises the error.
SENTENCES = ("_problem", "_problems", "sentence", "_hint", "_failure", "describe_foreign_file", "_describe_pickle")
# Functions whose sentences are the first half of a message, to which the caller adds what to do.
FIRST_HALVES = {
    "hidden_text_problems",
    "level_problem",
    "_text_problems",
    "_value_problem",
    "_category_code_problems",
    "_name_problems",
    "unreadable_sentences",
}
# Calls that raise the sentences of functions of other modules, which this test checks where they are written.
JOINED = {"sources/table.py": 1, "model_file.py": 1}


@dataclass
class Module:
    """A syntax tree without docstrings, and the expressions that a name of the module can stand for."""

    tree: ast.Module
    values: dict[str, list[ast.expr]] = field(default_factory=dict)

    def is_instructive(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether every text that an expression can have states what to do."""
        if isinstance(node, ast.IfExp):
            return self.is_instructive(node.body, seen) and self.is_instructive(node.orelse, seen)
        if isinstance(node, ast.Dict):
            return all(self.is_instructive(value, seen) for value in node.values)
        if INSTRUCTION.search(f" {own_text(node)}"):
            return True
        parts = [one for one in ast.walk(node) if isinstance(one, ast.IfExp)]
        if any(self.is_instructive(one, seen) for one in parts):
            return True
        names = {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node)} - seen
        return any(
            self.values.get(name) and all(self.is_instructive(value, seen | {name}) for value in self.values[name])
            for name in names
        )


def parse(source: str) -> Module:
    """Return a module from its source."""
    tree = ast.parse(source)
    module = Module(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    for name, value in (pair for node in ast.walk(tree) for pair in named_values(node)):
        module.values.setdefault(name, []).append(value)
    return module


def named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, expression) for each expression that a statement gives a name."""
    if isinstance(node, ast.FunctionDef):
        yield from ((node.name, result) for result in results(node))
        return
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign):
        targets, value = [node.target], node.value
    elif isinstance(node, ast.For):
        targets, value = [node.target], node.iter
    if value is not None:
        yield from ((one.id, value) for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))


def results(function: ast.FunctionDef) -> list[ast.expr]:
    """Return the expressions that a function returns or yields, without empty ones."""
    nodes = [
        one.value for one in ast.walk(function) if isinstance(one, ast.Return | ast.Yield) and one.value is not None
    ]
    return [one for one in nodes if not (isinstance(one, ast.Constant) and not one.value)]


def own_text(node: ast.AST) -> str:
    """Return the constant texts of an expression in their order, without those that depend on a condition."""
    if isinstance(node, ast.IfExp):
        return ""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    between = ". " if isinstance(node, ast.List) else ""  # the elements of a list are lines of a message
    return between.join(own_text(child) for child in ast.iter_child_nodes(node))


def refusals(source: str) -> Iterator[tuple[int, bool]]:
    """Yield (line, whether it states what to do) of every refusal in a module, and of every sentence of a refusal."""
    module = parse(source)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
            yield node.lineno, module.is_instructive(node)
        elif isinstance(node, ast.FunctionDef) and node.name.endswith(SENTENCES) and node.name not in FIRST_HALVES:
            for result in results(node):
                if len(own_text(result)) > 30:
                    yield result.lineno, module.is_instructive(result)


def without_instruction(source: str) -> list[int]:
    """Return the lines of the refusals that do not state what to do."""
    return [line for line, is_instructive in refusals(source) if not is_instructive]


def test_every_refusal_of_training_states_what_to_do() -> None:
    sources = {path.relative_to(ROOT / "training").as_posix(): path.read_text(encoding="utf-8") for path in MODULES}

    found = {name: lines for name, source in sources.items() if (lines := without_instruction(source))}

    assert sum(len([*refusals(source)]) for source in sources.values()) > 150
    assert {name: len(lines) for name, lines in found.items()} == JOINED, found


PLANTED = {
    "a message": 'raise DataInvalid(f"{name}: the file is bad")\n',
    "one of two results": (
        'def why(x):\n    if x:\n        return "is bad"\n    return "is bad; correct it"\n\nraise DataInvalid(f"{why(1)}")\n'
    ),
    "a docstring": 'def read(name):\n    """Read; correct the file."""\n    raise SpecInvalid("is bad")\n',
    "one of two conditions": 'raise DataInvalid("is bad" + ("; correct it" if x else ""))\n',
    "one of several texts": 'HINTS = {"a": "; correct it", "b": "is bad"}\nraise DataInvalid(HINTS[a])\n',
    "a sentence that another function raises": 'def range_problems(x):\n    yield f"column {x} has values that are bad"\n',
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_refusal_without_an_instruction_is_found(case: str) -> None:
    mended = PLANTED[case].replace("bad", "bad; correct it")

    assert len(without_instruction(PLANTED[case])) == 1
    assert without_instruction(mended) == []
