"""Rules of the house that no linter knows: names, docstrings, words, privacy, sizes. CONTRIBUTING.md states them."""

import ast
import io
import re
import subprocess
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

FUNCTION_LINES_MAX = 60
MODULES_MAX = 20  # "no folder of more than about 20 modules"
EMPTY_NAMES = {"utils", "util", "common", "helpers", "misc", "core"}
SOURCES = ("models", "record", "training", "server", "client", "console")
TRACKED = subprocess.run(
    ["/usr/bin/env", "git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.splitlines()
OURS = [
    ROOT / name
    for name in TRACKED
    if name.endswith(".py") and "_pb2" not in name and "/versions/" not in name and (ROOT / name).exists()
]
SOURCE_FILES = [path for path in OURS if path.relative_to(ROOT).parts[0] in SOURCES]
PROSE = [
    ROOT / name
    for name in TRACKED
    if name.endswith((".md", ".proto"))
    and not name.startswith(("tests/compat/1/", "CHANGELOG"))
    and (ROOT / name).exists()
]

# A docstring opens with an imperative verb that says what is done: Return, Read, Write, Append, Raise, Check, Build, Parse ...
BANNED_OPENINGS = {
    *(
        "Give",
        "Gives",
        "Say",
        "Says",
        "Tell",
        "Tells",
        "Put",
        "Puts",
        "Let",
        "Lets",
        "See",
        "Have",
        "Has",
        "Take",
        "Takes",
    ),
    *(
        "Whether",
        "What",
        "Who",
        "How",
        "Where",
        "When",
        "Why",
        "The",
        "A",
        "An",
        "It",
        "This",
        "Of",
        "For",
        "One",
        "All",
    ),
}
THIRD_PERSON_EXCEPTIONS = {
    "Assess",
    "Pass",
    "Process",
    "Address",
    "Compress",
    "Express",
    "Discuss",
    "Bias",
    "Guess",
    "Access",
    "Suppress",
}

# Names that mean something done, for what does something.
PARTICIPLE = re.compile(r"[a-z]+ed")
IRREGULAR_PARTICIPLES = {
    *("kept", "made", "begun", "written", "told", "held", "drawn", "sent", "shown", "found", "taken", "gone", "built"),
    *("known", "set_up", "put_together", "thrown", "grown", "given", "seen", "said", "read_in", "undone", "bound"),
}
NOT_PARTICIPLES = {"seed", "feed", "need", "speed", "embed", "bed", "red", "proceed", "exceed", "shed", "id_feed"}

# Words that make a reader of English stop; writing plain words instead costs nothing.
BANNED_WORDS = re.compile(
    r"\b(told|anew|whoever|whatever|whomever|whom nobody|beyond doubt|(is|are) not yours|what is there|by a way that|"
    r"twigs?|lineup|rehears\w+|side by side|in turns)\b",
    re.IGNORECASE,
)


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def opening_problem(docstring: str) -> str:
    """Return what is wrong with the first word of a function's docstring; "" where nothing is."""
    first = re.match(r"\W*(\w+)", docstring)
    word = first.group(1) if first else ""
    if word in BANNED_OPENINGS:
        return f"opens with {word!r}"
    if word.endswith("s") and word not in THIRD_PERSON_EXCEPTIONS:
        return f"opens with {word!r}, which is not an imperative"
    if re.fullmatch(r"[A-Z]\w+(ed|ing)", word) and word not in {"Embed", "Feed", "Seed", "Need", "Bring", "String"}:
        return f"opens with {word!r}, which is not an imperative"
    return ""


def names_a_thing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is used as a noun: a property, a fixture, or a test, whose name is its sentence."""
    decorators = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    return "property" in decorators or "fixture" in decorators or function.name.startswith("test_")


def participle_problem(name: str) -> str:
    bare = name.strip("_")
    named = PARTICIPLE.fullmatch(bare) and bare not in NOT_PARTICIPLES
    return f"{name} is named by a participle" if named or bare in IRREGULAR_PARTICIPLES else ""


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a Python file's comments and strings."""
    for token in tokenize.generate_tokens(io.StringIO(text_of(path)).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING} or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string


def banned_words(prose: Iterator[tuple[int, str]]) -> list[str]:
    return [f"line {line}: {found.group(0)!r}" for line, text in prose for found in BANNED_WORDS.finditer(text)]


def problems_by_file(paths: Iterable[Path], rule: Callable[[Path], list[str]]) -> dict[str, list[str]]:
    """Apply a rule to every file; return the problems of the files that have any."""
    return {name_of(path): problems for path in paths if (problems := rule(path))}


def test_functions_fit_on_a_screen() -> None:
    def long_functions(path: Path) -> list[str]:
        return [
            node.name
            for node in functions_in(tree_of(path))
            if (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
        ]

    assert not problems_by_file(OURS, long_functions)


def test_a_file_is_named_after_what_is_in_it() -> None:
    assert not [name_of(path) for path in OURS if path.stem in EMPTY_NAMES]


def test_a_docstring_opens_with_an_imperative_verb() -> None:
    def bad_openings(path: Path) -> list[str]:
        return [
            f"{node.name}: {problem}"
            for node in functions_in(tree_of(path))
            if not names_a_thing(node) and (problem := opening_problem(ast.get_docstring(node) or ""))
        ]

    assert not problems_by_file(OURS, bad_openings)


def test_no_participle_names_a_function() -> None:
    def participles(path: Path) -> list[str]:
        return [
            problem
            for node in functions_in(tree_of(path))
            if not names_a_thing(node) and (problem := participle_problem(node.name))
        ]

    assert not problems_by_file(OURS, participles)


def test_code_is_written_in_plain_words() -> None:
    others = [path for path in OURS if path.name != Path(__file__).name]

    assert not problems_by_file(others, lambda path: banned_words(prose_of(path)))


def test_pages_and_the_contract_are_written_in_plain_words() -> None:
    assert not problems_by_file(PROSE, lambda path: banned_words(enumerate(text_of(path).splitlines(), 1)))


def test_the_rules_notice_what_they_forbid() -> None:
    assert opening_problem("Give the size.")
    assert opening_problem("Returns the size.")
    assert opening_problem("Sealed records of a log.")
    assert not opening_problem("Return the size.")
    assert participle_problem("_sealed")
    assert participle_problem("kept")
    assert not participle_problem("read_seed")
    assert banned_words(iter([(1, "# what it was told")]))
    assert public_names(ast.parse("def used(): ...\n_private = 1\nclass Thing: ...")) == {"used", "Thing"}
    assert private_imports(ast.parse("from a import _b, c")) == ["_b"]


def public_names(tree: ast.Module) -> set[str]:
    """Return the public functions, classes and constants of a module."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # Of several names in one assignment, the first stands for all.
            names |= {next(each.id for each in ast.walk(target) if isinstance(each, ast.Name)) for target in targets}
    return {name for name in names if not name.startswith("_")}


def private_imports(tree: ast.Module) -> list[str]:
    return [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]


@cache
def words_of(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text_of(path)))


@cache
def users() -> tuple[Path, ...]:
    """Return every file that can use a name: our Python, and the entry points of the distributions."""
    return (*OURS, ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")


def names_in_public_signatures(tree: ast.Module) -> set[str]:
    """Return the names in annotations, bases and decorators of what is public: a caller receives or passes such an object."""
    found: set[str] = set()
    public = [node for node in tree.body if not getattr(node, "name", "").startswith("_")]
    for node in (each for top in public for each in ast.walk(top)):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not re.match("_(?!_init__)", node.name):
            parts = [
                node.returns,
                *(argument.annotation for argument in ast.walk(node.args) if isinstance(argument, ast.arg)),
            ]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.ClassDef):
            parts = [*node.bases]
        found |= {word for part in parts if part for word in re.findall(r"\w+", ast.unparse(part))}
    for node in tree.body:  # an alias is as public as what it names
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id in found for each in node.targets
        ):
            found |= set(re.findall(r"\w+", ast.unparse(node.value)))
    return found


def test_what_has_no_user_outside_its_module_is_private() -> None:
    def unused_names(path: Path) -> list[str]:
        commands = {  # typer calls them by their decorators
            node.name
            for node in functions_in(tree_of(path))
            if any("command" in ast.unparse(d) for d in node.decorator_list)
        }
        return [
            name
            for name in sorted(public_names(tree_of(path)) - commands - names_in_public_signatures(tree_of(path)))
            if not any(name in words_of(other) for other in users() if other != path)
        ]

    assert not problems_by_file(SOURCE_FILES, unused_names)


def test_no_module_imports_what_is_private_to_another() -> None:
    assert not problems_by_file(SOURCE_FILES, lambda path: private_imports(tree_of(path)))


def test_a_folder_holds_about_twenty_modules_at_most() -> None:
    modules = Counter(name_of(path.parent) for path in SOURCE_FILES if path.name != "__init__.py")

    assert not {folder: count for folder, count in modules.items() if count > MODULES_MAX + 2}


def test_no_two_classes_share_a_name() -> None:
    owners: dict[str, list[str]] = {}
    for path in SOURCE_FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(name_of(path))

    assert not {name: paths for name, paths in owners.items() if len(paths) > 1}


def test_nothing_of_ours_is_mocked_or_patched() -> None:
    tests = [path for path in OURS if "tests" in path.parts]

    found = [path for path in tests if re.search(r"unittest[.]mock|Magic[M]ock|monkeypatch[.]setattr", text_of(path))]

    assert not found


def test_every_dependency_has_a_comment_with_its_reason() -> None:
    for name in ("pyproject.toml", "client/pyproject.toml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        block = text[text.index("dependencies = [") : text.index("[build-system]")]

        bare = [line for line in block.splitlines() if re.match(r'\s+"', line) and "#" not in line]

        assert not bare
