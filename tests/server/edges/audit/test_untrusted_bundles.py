"""A crafted bundle that is in the catalog but not active cannot harm the server, even if an auditor replays with it."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from grounds.model.v1 import model_pb2
from models.isolation.processes import GraphProcesses, ProcessLimits
from server.application import Application
from server.config import Settings
from tests.conftest import Serving
from tests.models.changed_bundles import read_files, write_with_document, write_with_file
from tests.models.crafted_graphs import THRESHOLD, attack, fill_memory, use_time
from tests.server.audits import MODES, replay, score_customer
from tests.server.requests import call_error, numbers, simulate_request
from tests.server.servers import list_models, serve, swap_model, wait_for_state, wait_until
from tests.small import SmallFamily

_Craft = Callable[[Path, Path], Path]
REFUSED = model_pb2.MODEL_STATE_REFUSED
SECRET = b"0123456789abcdef0123456789abcdef"


async def decide_about_a_large_turnover(serving: Serving) -> str:
    """Score a customer whose large turnover makes the crafted graphs harmful; return the decision_id."""
    decision = await score_customer(serving, features=numbers(turnover=2 * THRESHOLD))
    return decision.record_ref.decision_id


def change_graph(name: str, change: Callable[[onnx.ModelProto], object]) -> _Craft:
    """Return a function that writes a copy of a bundle with one changed graph."""

    def craft(folder: Path, parent: Path) -> Path:
        model = onnx.load_from_string(read_files(folder)[name])
        change(model)
        return write_with_file(folder, parent, name, model.SerializeToString())

    return craft


def change_document(name: str, change: Callable[[Any], object]) -> _Craft:
    """Return a function that writes a copy of a bundle with one changed JSON document."""
    return lambda folder, parent: write_with_document(folder, parent, name, change)


def write_content(name: str, content: bytes) -> _Craft:
    """Return a function that writes a copy of a bundle in which one file has this content."""
    return lambda folder, parent: write_with_file(folder, parent, name, content)


def harm_graph(harm: Callable[[onnx.GraphProto], str]) -> _Craft:
    """Return a function that writes a copy of a bundle whose explanation graph is harmful for a large turnover."""
    return lambda folder, parent: write_with_file(
        folder, parent, "explain.onnx", attack(read_files(folder)["explain.onnx"], harm)
    )


def read_a_key(model: onnx.ModelProto) -> None:
    """Add an initializer that reads its data from a key file in the working directory."""
    tensor = numpy_helper.from_array(np.zeros(32, dtype=np.uint8), "secret")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="grounds-master.key")
    model.graph.initializer.append(tensor)


def loop(model: onnx.ModelProto) -> None:
    """Add a loop that never ends."""
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["forever"], body=body))


def declare_a_huge_table(model: onnx.ModelProto) -> None:
    """Declare 2**40 rows for each initializer."""
    for table in model.graph.initializer:
        table.dims[0] = 2**40


def take_three_columns(model: onnx.ModelProto) -> None:
    """Declare an input with three columns, which is one fewer than the schema has."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def return_no_number(model: onnx.ModelProto) -> None:
    """Set the weight of every leaf to NaN."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "leaf_weights":
                count = int(np.prod(attribute.t.dims))
                attribute.t.CopyFrom(numpy_helper.from_array(np.full(count, np.nan), attribute.t.name))


def use_a_wide_text(document: Any) -> None:
    """Replace the texts of each group by templates that would expand to a gigabyte."""
    for group in document["groups"]:
        group["texts"] = {"en": "{pushed:>999999999}", "de": "{pushed!r:>999999999}"}


# Crafted bundles: a function that writes the bundle, and a part of the message with which the server refuses it.
CRAFTED: dict[str, tuple[_Craft, str]] = {
    "external data": (change_graph("score.onnx", read_a_key), "other files"),
    "loop": (change_graph("explain.onnx", loop), "subgraphs"),
    "operator domain": (
        change_graph("score.onnx", lambda model: model.opset_import.append(helper.make_opsetid("com.microsoft", 1))),
        "com.microsoft",
    ),
    "huge table": (change_graph("explain.onnx", declare_a_huge_table), "does not open"),
    "three columns": (change_graph("score.onnx", take_three_columns), "Expected: 3"),
    "NaN leaves": (change_graph("score.onnx", return_no_number), "margins differ"),
    "ORT format": (write_content("score.onnx", b"\x12\x10\0\0ORTM" + bytes(10)), "ORT format"),
    "archive": (write_content("explain.onnx", b"PK\x03\x04" + bytes(1000)), "not readable"),
    "memory": (harm_graph(fill_memory), "bad_alloc"),
    "time": (harm_graph(use_time), "processor time"),
    "overflow": (change_document("scorecard.json", lambda card: card.update(pdo=1e300)), "golden.json"),
}
UNREADABLE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "pipe": ("card.md", os.mkfifo, "not a regular file"),
    "link to a key": ("card.md", lambda path: path.symlink_to("/etc/hostname"), "link"),
    "endless device": ("report.html", lambda path: path.symlink_to("/dev/zero"), "link"),
    "folder": ("model.txt", Path.mkdir, "directory"),
    "huge sparse file": ("explain.onnx", lambda path: _write_sparse(path, 2**40), "bytes"),
}
DOCUMENTS = {
    "deep nesting": (b"[" * 200_000, "golden.json"),
    "many lists": (b'{"rows":[' + b"[]," * 400_000 + b"[]]}", "lists and objects"),
    "long number": (b'{"rows":[' + b"9" * 100_000 + b"]}", "golden.json"),
    "no text": (b"\xff\xfe", "golden.json"),
}


def _write_sparse(path: Path, size: int) -> None:
    """Write a file of zeros that needs no space on the disk."""
    with path.open("wb") as file:
        file.truncate(size)


@pytest.fixture
async def limited(small_settings: Settings) -> Any:
    """Serve the small family, with a low limit of processor time for bundles that are not active."""
    application = Application(small_settings)
    application.graphs = GraphProcesses(ProcessLimits(cpu_seconds=2, wall_seconds=120))
    await application.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
        yield Serving(application, small_settings, channel)
    await application.stop()


@pytest.mark.parametrize(("craft", "problem"), CRAFTED.values(), ids=CRAFTED)
async def test_a_what_if_with_a_crafted_bundle_is_refused_and_the_server_goes_on(
    limited: Serving, small: SmallFamily, craft: _Craft, problem: str
) -> None:
    decision_id = await decide_about_a_large_turnover(limited)
    folder = craft(small.bundle_folder, limited.settings.bundles)

    what_ifs = [call_error(replay(limited, decision_id, "WHAT_IF", bundle_id=folder.name)) for _ in range(2)]
    calls = [limited.credit.SimulateCredit(simulate_request()) for _ in range(5)]
    errors, answers = await asyncio.gather(asyncio.gather(*what_ifs), asyncio.gather(*calls))

    for error in errors:
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_REFUSED")
        assert error.metadata == {"bundle_id": folder.name}
        assert problem in error.message
    assert {answer.known.model_output.bundle_id for answer in answers} == {small.bundle_folder.name}
    verdicts = await replay(limited, decision_id)
    assert {mode: verdict for mode, (verdict, _) in verdicts.items()} == dict.fromkeys(MODES, "match")


@pytest.mark.parametrize(("name", "replace", "problem"), UNREADABLE.values(), ids=UNREADABLE)
async def test_a_bundle_with_a_file_that_is_no_file_is_refused_and_the_catalog_is_read_on(
    limited: Serving, small: SmallFamily, name: str, replace: Callable[[Path], object], problem: str
) -> None:
    folder = write_with_file(small.bundle_folder, limited.settings.bundles, "card.md", b"# Crafted\n")
    (folder / name).unlink()
    replace(folder / name)
    good = write_with_file(small.bundle_folder, limited.settings.bundles, "card.md", b"# Good\n")

    summary = await wait_for_state(limited, folder.name, REFUSED)

    assert problem in summary.refusal
    await wait_for_state(limited, good.name, model_pb2.MODEL_STATE_AVAILABLE)


@pytest.mark.parametrize(("content", "problem"), DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_bundle_with_a_crafted_document_is_refused(
    limited: Serving, small: SmallFamily, content: bytes, problem: str
) -> None:
    folder = write_with_file(small.bundle_folder, limited.settings.bundles, "golden.json", content)

    summary = await wait_for_state(limited, folder.name, REFUSED)

    assert problem in summary.refusal


async def test_a_manifest_cannot_list_files_outside_the_bundle(limited: Serving, small: SmallFamily) -> None:
    manifest = json.loads((small.bundle_folder / "manifest.json").read_bytes())
    manifest["files"]["../../../grounds-master.key"] = "0" * 64
    folder = limited.settings.bundles / "credit" / ("0" * 64)
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))

    summary = await wait_for_state(limited, folder.name, REFUSED)

    assert "its SHA-256 is not the name of the folder" in summary.refusal


async def test_a_text_of_a_crafted_bundle_cannot_fill_the_memory(limited: Serving, small: SmallFamily) -> None:
    decision_id = await decide_about_a_large_turnover(limited)
    folder = write_with_document(small.bundle_folder, limited.settings.bundles, "schema.json", use_a_wide_text)

    english = await replay(limited, decision_id, "SCORE", "WHAT_IF", bundle_id=folder.name)

    assert len(english["WHAT_IF"][1].SerializeToString()) < 100_000


async def test_an_old_decision_is_replayed_in_a_process_with_limits_and_matches_to_the_bit(
    limited: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    decision_id = (await score_customer(limited)).record_ref.decision_id
    await replay(limited, decision_id)
    assert not limited.application.graphs._idle, "a bundle that serves is replayed in the server's own process"
    await swap_model(limited, other.bundle_folder)

    verdicts = await replay(limited, decision_id)

    assert {mode: verdict for mode, (verdict, _) in verdicts.items()} == dict.fromkeys(MODES, "match")
    assert [process.bundle_id for process in limited.application.graphs._idle] == [small.bundle_folder.name]


async def test_a_process_that_hangs_delays_neither_the_stop_nor_the_calls_of_others(
    small_settings: Settings, small: SmallFamily
) -> None:
    bundle = write_with_file(small.bundle_folder, small_settings.bundles, "card.md", b"# Not active\n").name
    async with serve(small_settings) as serving:
        decision_id = (await score_customer(serving)).record_ref.decision_id
        assert (await replay(serving, decision_id, "WHAT_IF", bundle_id=bundle))["WHAT_IF"][0] == "what_if"
        (process,) = serving.application.graphs._idle
        os.kill(process._process.pid, signal.SIGSTOP)
        hung = [asyncio.ensure_future(replay(serving, decision_id, "WHAT_IF", bundle_id=bundle)) for _ in range(8)]
        await wait_until(lambda: asyncio.sleep(0, bool(serving.application.graphs._busy)))

        assert (await score_customer(serving, 2)).record_ref.decision_id
        assert await list_models(serving)
        assert not any(call.done() for call in hung)
    assert not process.is_alive()
    await asyncio.gather(*hung, return_exceptions=True)


async def test_a_bundle_activated_by_hand_is_checked_in_a_process_before_it_serves(
    limited: Serving, small: SmallFamily
) -> None:
    explain = attack(read_files(small.bundle_folder)["explain.onnx"], fill_memory, threshold=-1.0)
    folder = write_with_file(small.bundle_folder, limited.settings.bundles, "explain.onnx", explain)
    active = limited.settings.bundles / "credit" / "ACTIVE.toml"
    active.write_text(active.read_text().replace(small.bundle_folder.name, folder.name))

    await wait_until(lambda: asyncio.sleep(0, bool(limited.application.models.problems)))
    answer = await limited.credit.SimulateCredit(simulate_request())

    assert answer.known.model_output.bundle_id == small.bundle_folder.name
    assert "bad_alloc" in limited.application.models.problems["credit/DE"]
