"""The command `models` against a real server."""

import json

from google.protobuf.json_format import Parse

from grounds.model.v1 import model_pb2
from tests.client.command_line import run, run_process, run_streams
from tests.conftest import Serving
from tests.small import SmallFamily


async def test_a_prefix_of_its_id_selects_the_bundle_to_show(serving: Serving, small: SmallFamily) -> None:
    done = await run_process(serving, "models", small.bundle_folder.name[:12])

    assert done.returncode == 0, done.stderr
    assert "days_late *" in done.stdout
    assert "a customer without this value cannot be scored" in done.stdout
    assert f"bundle {small.bundle_folder.name}" in done.stdout


async def test_the_shortened_id_in_the_list_is_accepted_as_an_argument(serving: Serving, small: SmallFamily) -> None:
    _, listed = await run(serving, "models")
    shown = next(word for word in listed.split() if small.bundle_folder.name.startswith(word))

    status, output, _ = await run_streams(serving, "models", shown, "--json")

    assert status == 0
    assert Parse(output, model_pb2.Model()).summary.bundle_id == small.bundle_folder.name


async def test_a_prefix_that_is_too_short_or_unknown_is_rejected_with_the_rule(
    serving: Serving, small: SmallFamily
) -> None:
    short, short_error = await run(serving, "models", small.bundle_folder.name[:7])
    unknown, unknown_error = await run(serving, "models", "no-such-bundle")

    assert (short, unknown) == (2, 2)
    assert "at least its first 8 characters" in " ".join(short_error.replace("│", " ").split())
    assert "is not the beginning of a bundle_id" in " ".join(unknown_error.replace("│", " ").split())


async def test_a_json_list_prints_one_document_per_line(serving: Serving, small: SmallFamily) -> None:
    _, output, _ = await run_streams(serving, "models", "--json")

    documents = [json.loads(line) for line in output.splitlines()]
    assert [document["bundle_id"] for document in documents] == [small.bundle_folder.name]
