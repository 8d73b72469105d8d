"""The command of the model catalog, against a real server."""

import json

from google.protobuf.json_format import Parse

from grounds.model.v1 import model_pb2
from tests.client.command_line import run, run_process, run_streams
from tests.conftest import Serving
from tests.small import SmallFamily


async def test_a_model_is_shown_by_the_beginning_of_its_id(serving: Serving, small: SmallFamily) -> None:
    done = await run_process(serving, "models", small.bundle_folder.name[:12])

    assert done.returncode == 0, done.stderr
    assert "days_late *" in done.stdout
    assert "without it a customer is not scorable" in done.stdout
    assert f"bundle {small.bundle_folder.name}" in done.stdout


async def test_the_listed_id_can_be_typed_back(serving: Serving, small: SmallFamily) -> None:
    _, listed = await run(serving, "models")
    shown = next(word for word in listed.split() if small.bundle_folder.name.startswith(word))

    status, output, _ = await run_streams(serving, "models", shown, "--json")

    assert status == 0
    assert Parse(output, model_pb2.Model()).summary.bundle_id == small.bundle_folder.name


async def test_a_prefix_that_is_too_short_or_unknown_is_explained(serving: Serving, small: SmallFamily) -> None:
    short, short_error = await run(serving, "models", small.bundle_folder.name[:7])
    unknown, unknown_error = await run(serving, "models", "no-such-bundle")

    assert (short, unknown) == (2, 2)
    assert "at least its first 8 characters" in " ".join(short_error.replace("│", " ").split())
    assert "is not the beginning of a bundle_id" in " ".join(unknown_error.replace("│", " ").split())


async def test_the_json_of_a_list_is_one_document_on_each_line(serving: Serving, small: SmallFamily) -> None:
    _, output, _ = await run_streams(serving, "models", "--json")

    documents = [json.loads(line) for line in output.splitlines()]
    assert [document["bundle_id"] for document in documents] == [small.bundle_folder.name]
