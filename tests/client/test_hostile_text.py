"""Text from a server cannot control the reader's terminal, hide in a page, begin a line of its own or act as markup."""

import ast
import inspect
import io
import json
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from rich.console import Console

from grounds.audit.v1 import audit_pb2
from grounds.credit.v1 import credit_pb2
from grounds_client.commands import output
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.churn_page import render_churn_page
from grounds_client.evidence.decision_page import render_decision_page
from grounds_client.pull.table import COPY_SCHEMA, read_copy, write_copy
from grounds_client.terminal import audit, churn, credit, models
from tests.conftest import ROOT

FORGED = "override 7: APPROVE"
HOSTILE = f"a\x1b]0;owned\x07\x9b2J\x7f\u202e\u200b\u2028[red]b[/red][link=x]c[/link]\n{FORGED}"
SHOWN = list(
    dict.fromkeys(
        getattr(module, name)
        for module in (audit, churn, credit, models)
        for name in dir(module)
        if name.startswith("show_")
    )
)
_CONTROLS = {"\x1b", "\x07", "\x9b", "\x7f", "\u202e", "\u200b", "\u2028"}


def hostile(message: Message, depth: int = 8) -> Any:
    """Fill every field of a message and of the messages in it, with HOSTILE as every text; return the message."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type is not None and depth == 0:
            continue
        if field.message_type is not None:
            part = getattr(message, field.name)
            hostile(part.add() if field.is_repeated else part, depth - 1)
            if not field.is_repeated:
                part.SetInParent()
            continue
        value = scalar(field)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return message


def scalar(field: Any) -> Any:
    """Return a value for a field that is not a message."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return "EUR" if field.name == "currency_code" else HOSTILE
    if field.type == FieldDescriptor.TYPE_BYTES:
        return HOSTILE.encode()
    return 1  # a valid number, and the first value of an enum after UNSPECIFIED


def argument(hint: Any) -> Any:
    """Return a hostile argument for a parameter with this type."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sequence:
        return [argument(parts[0])]
    if parts:  # a union: use its first message
        return argument(parts[0])
    if hint is str:
        return HOSTILE
    if hint is bool:
        return False
    if hint is EvidenceCheck:
        return EvidenceCheck(HOSTILE, holds=False)
    return hostile(hint())


def show(function: Callable[..., None]) -> str:
    """Call a `show_` function with hostile arguments; return the text that the function prints to a terminal."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=400)
    hints = typing.get_type_hints(function)
    arguments = {name: argument(hints[name]) for name in inspect.signature(function).parameters if name != "console"}
    function(console, **arguments)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def found_controls(text: str) -> set[str]:
    """Return the characters of _CONTROLS that a text contains."""
    return {each for each in text if each in _CONTROLS}


@pytest.mark.parametrize("function", SHOWN, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_the_terminal_shows_every_text_of_a_message_without_controls_markup_and_new_lines(
    function: Callable[..., None],
) -> None:
    printed = show(function)

    multiline = function is models.show_model  # the model card has several lines
    assert printed.strip()
    assert found_controls(printed) == set()
    assert multiline or not any(line.strip() == FORGED for line in printed.splitlines())
    if r"\x1b" in printed:
        assert "[red]b[/red]" in printed


def test_enough_functions_of_the_terminal_show_hostile_text() -> None:
    assert sum(r"\x1b]0;owned\x07\x9b2J\x7f\u202e" in show(function) for function in SHOWN) >= 10


@pytest.mark.parametrize("kind", ["decision", "churn"])
def test_an_evidence_page_has_no_control_or_bidirectional_character(kind: str) -> None:
    checks, texts = [EvidenceCheck(HOSTILE, holds=False)], {"purpose": HOSTILE, "key": HOSTILE}
    if kind == "decision":
        evidence, replay = hostile(audit_pb2.Evidence()), hostile(audit_pb2.ReplayDecisionResponse())
        page = render_decision_page(evidence, replay, checks, **texts)
    else:
        churn_evidence, churn_replay = hostile(audit_pb2.ChurnEvidence()), hostile(audit_pb2.ReplayChurnRiskResponse())
        page = render_churn_page(churn_evidence, churn_replay, checks, **texts)

    assert found_controls(page) == set()
    assert page.count(r"\u202e") > 10


def test_json_stays_valid_and_has_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    message = hostile(credit_pb2.Override())

    output.print_json(message)
    output.print_json_lines([message])

    printed = capsys.readouterr().out
    first, second = printed.rsplit("\n{", 1)
    assert json.loads(first)["comment"] == json.loads("{" + second)["comment"] == HOSTILE
    assert found_controls(printed) == set()


def test_a_csv_copy_has_escapes_and_reads_back_as_it_was_written(tmp_path: Path) -> None:
    texts = {field.name: pa.array([HOSTILE], field.type) for field in COPY_SCHEMA if pa.types.is_string(field.type)}
    table = pa.table({field.name: texts.get(field.name, pa.nulls(1, field.type)) for field in COPY_SCHEMA})

    write_copy(tmp_path / "copy.csv", ".csv", table)
    again = read_copy(tmp_path / "copy.csv", ".csv")

    assert found_controls((tmp_path / "copy.csv").read_text(encoding="utf-8")) == set()
    shown = r"a\x1b]0;owned\x07\x9b2J\x7f\u202e\u200b\u2028[red]b[/red][link=x]c[/link]"
    assert again["driver_1"].to_pylist() == [f"{shown}\n{FORGED}"]


def test_every_command_prints_through_the_functions_that_escape() -> None:
    """Only the modules in `homes`, of the client and of the server's commands, may print directly."""
    homes = {
        "client/grounds_client/commands/output.py",
        "client/grounds_client/terminal/console.py",
        "server/commands/output.py",
    }
    found = []
    for folder in ("client/grounds_client", "server/commands"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name in homes or path.name == "__main__.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                text = node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
                if called in {"typer.echo", "print", "sys.stdout.write", "sys.stderr.write"} or (
                    called == "console.print" and text
                ):
                    found.append(f"{name}:{node.lineno}")

    assert found == []
