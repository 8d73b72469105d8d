"""The model registry serves the right bundle while files of the catalog change."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from grounds.model.v1 import model_pb2
from models.bundle import FILES, MANIFEST
from models.catalog import ACTIVE, _write_active, activate, deactivate, read_active
from models.errors import ActivationRejected, BundleInvalid
from server.config import Settings
from server.registry.model_registry import ModelRegistry
from server.stores.catalog.artifacts import activation_problems
from server.stores.database import Database
from tests.conftest import Serving
from tests.server.requests import call_error, customer, score_request, simulate_request
from tests.server.servers import copy_bundle, flip_a_byte, list_models, serve, swap_model, wait_for_state, wait_until
from tests.small import SmallFamily

REFUSED, SERVING = model_pb2.MODEL_STATE_REFUSED, model_pb2.MODEL_STATE_SERVING
AVAILABLE = model_pb2.MODEL_STATE_AVAILABLE


async def serving_bundle_id(serving: Serving, market: str = "DE", customer_id: str = "C00000") -> str:
    """Return the bundle_id of the bundle that serves a market."""
    answer = await serving.credit.ScoreCredit(score_request(customer=customer(market, customer_id)))
    return answer.credit_decision.assessment.model_output.bundle_id


async def test_without_an_active_bundle_the_server_is_not_serving(small_settings: Settings) -> None:
    (small_settings.bundles / "credit" / ACTIVE).unlink()

    async with serve(small_settings) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request()))
        health = health_pb2_grpc.HealthStub(serving.channel)
        states = {
            service: (await health.Check(health_pb2.HealthCheckRequest(service=service))).status
            for service in ("", "grounds.credit.v1.CreditService", "grounds.churn.v1.ChurnService")
        }

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTIVE_MODEL")
    assert "active model: none" in error.message
    not_serving, serves = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    assert list(states.values()) == [not_serving, not_serving, serves]


async def test_an_empty_catalog_serves_nothing(small_settings: Settings) -> None:
    shutil.rmtree(small_settings.bundles)

    async with serve(small_settings) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request()))

        assert error.reason == "NO_ACTIVE_MODEL"
        assert await list_models(serving) == {}


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
async def test_a_bundle_damaged_while_it_serves_is_reported_and_serves_on_from_memory(
    serving: Serving, small: SmallFamily, name: str
) -> None:
    bundle_id = small.bundle_folder.name
    flip_a_byte(serving.settings.bundles / "credit" / bundle_id / name)

    summary = await wait_for_state(serving, bundle_id, REFUSED)

    assert name in summary.refusal
    assert list(summary.serving_markets) == ["DE", "FR"]
    assert await serving_bundle_id(serving) == bundle_id


@pytest.mark.parametrize("name", ["score.onnx", "golden.json", MANIFEST])
async def test_a_damaged_bundle_does_not_serve_after_a_restart(
    small_settings: Settings, small: SmallFamily, name: str
) -> None:
    flip_a_byte(small_settings.bundles / "credit" / small.bundle_folder.name / name)

    async with serve(small_settings) as serving:
        error = await call_error(serving.credit.ScoreCredit(score_request()))
        summary = (await list_models(serving))[small.bundle_folder.name]

    assert error.reason == "NO_ACTIVE_MODEL"
    assert summary.state == REFUSED
    assert name in summary.refusal


async def test_a_repaired_bundle_serves_again(small_settings: Settings, small: SmallFamily) -> None:
    broken = small_settings.bundles / "credit" / small.bundle_folder.name / "golden.json"
    whole = broken.read_bytes()
    flip_a_byte(broken)

    async with serve(small_settings) as serving:
        broken.write_bytes(whole)
        await wait_for_state(serving, small.bundle_folder.name, SERVING)

        assert await serving_bundle_id(serving) == small.bundle_folder.name


async def test_the_operator_cannot_activate_a_damaged_bundle(serving: Serving, other: SmallFamily) -> None:
    folder = copy_bundle(other.bundle_folder, serving.settings.bundles)
    flip_a_byte(folder / "score.onnx")

    with pytest.raises(BundleInvalid, match=r"score\.onnx"):
        activate(serving.settings.bundles, folder.name)

    assert (await wait_for_state(serving, folder.name, REFUSED)).serving_markets == []


async def test_a_damaged_bundle_activated_by_hand_leaves_the_former_one_serving(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    folder = copy_bundle(other.bundle_folder, serving.settings.bundles)
    flip_a_byte(folder / "explain.onnx")
    _write_active(serving.settings.bundles, "credit", {"DE": folder.name, "FR": small.bundle_folder.name})

    summary = await wait_for_state(serving, folder.name, REFUSED)

    assert "explain.onnx" in summary.refusal
    assert await serving_bundle_id(serving) == small.bundle_folder.name


async def test_an_invalid_bundle_cannot_be_read_and_names_the_damaged_file(
    serving: Serving, other: SmallFamily
) -> None:
    folder = copy_bundle(other.bundle_folder, serving.settings.bundles)
    flip_a_byte(folder / "card.md")
    await wait_for_state(serving, folder.name, REFUSED)

    error = await call_error(serving.models.GetModel(model_pb2.GetModelRequest(bundle_id=folder.name)))

    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_REFUSED")
    assert error.metadata == {"bundle_id": folder.name}
    assert "card.md" in error.message


async def test_an_unknown_bundle_is_not_found(serving: Serving) -> None:
    error = await call_error(serving.models.GetModel(model_pb2.GetModelRequest(bundle_id="0" * 64)))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "BUNDLE_UNKNOWN")


async def test_a_bundle_is_read_with_all_its_parts(serving: Serving, small: SmallFamily) -> None:
    asked = model_pb2.GetModelRequest(bundle_id=small.bundle_folder.name)

    model = (await serving.models.GetModel(asked)).model

    bundle = small.bundle()
    assert [feature.name for feature in model.features] == list(bundle.schema.names)
    assert model.card == bundle.card
    assert dict(model.metrics) == dict(bundle.metrics)
    assert model.baseline.sha256 == bundle.baseline_sha256
    assert [feature.HasField("max") for feature in model.features] == [True, False, False, True]


async def test_models_are_listed_by_family_the_serving_ones_first(serving: Serving, other: SmallFamily) -> None:
    copy_bundle(other.bundle_folder, serving.settings.bundles)
    await wait_for_state(serving, other.bundle_folder.name, AVAILABLE)

    answer = await serving.models.ListModels(model_pb2.ListModelsRequest())

    assert [summary.state for summary in answer.models] == [SERVING, AVAILABLE]
    assert not (await serving.models.ListModels(model_pb2.ListModelsRequest(family="churn"))).models


async def test_another_bundle_serves_without_a_restart_and_without_a_failed_call(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    seen: list[tuple[str, str]] = []
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            answer = await serving.credit.SimulateCredit(simulate_request())  # a failed call fails the test
            seen.append((answer.known.model_output.bundle_id, answer.simulated.model_output.bundle_id))

    async with asyncio.TaskGroup() as callers:
        for _ in range(4):
            callers.create_task(ask())
        await wait_until(lambda: asyncio.sleep(0, len(seen) > 20))
        await swap_model(serving, other.bundle_folder)
        before = len(seen)
        await wait_until(lambda: asyncio.sleep(0, len(seen) > before + 20))
        over.set()

    assert {bundle_id for pair in seen for bundle_id in pair} == {small.bundle_folder.name, other.bundle_folder.name}
    assert all(known == simulated for known, simulated in seen)  # no request uses two different bundles
    assert seen[0][0] == small.bundle_folder.name
    assert seen[-1][0] == other.bundle_folder.name


async def test_activating_the_former_bundle_again_rolls_back(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    await swap_model(serving, other.bundle_folder)
    activate(serving.settings.bundles, small.bundle_folder.name[:12])

    await wait_for_state(serving, other.bundle_folder.name, AVAILABLE)

    assert await serving_bundle_id(serving) == small.bundle_folder.name


async def test_each_market_has_the_bundle_that_was_activated_for_it(
    serving: Serving, small: SmallFamily, other: SmallFamily
) -> None:
    copy_bundle(other.bundle_folder, serving.settings.bundles)
    activate(serving.settings.bundles, other.bundle_folder.name, ("FR",))

    summary = await wait_for_state(serving, other.bundle_folder.name, SERVING)

    assert list(summary.serving_markets) == ["FR"]
    assert await serving_bundle_id(serving, "FR", "C00001") == other.bundle_folder.name
    assert await serving_bundle_id(serving, "DE", "C00000") == small.bundle_folder.name
    with pytest.raises(ActivationRejected, match="not US"):
        activate(serving.settings.bundles, other.bundle_folder.name, ("US",))


BROKEN = {"no TOML": b"[markets", "no table": b'markets = "DE"', "no names": b"[markets]\nDE = 1", "no text": b"\xff"}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
async def test_an_invalid_activation_file_leaves_the_former_bundle_serving(
    serving: Serving, small: SmallFamily, other: SmallFamily, content: bytes
) -> None:
    (serving.settings.bundles / "credit" / ACTIVE).write_bytes(content)
    copy_bundle(other.bundle_folder, serving.settings.bundles)
    await wait_for_state(serving, other.bundle_folder.name, AVAILABLE)  # the catalog was read again

    assert await serving_bundle_id(serving) == small.bundle_folder.name


def serving_bundles(registry: ModelRegistry) -> dict[str, str]:
    """Return the bundle_id of each market of the credit family."""
    return {market: model.bundle.bundle_id for (_, market), model in registry.refresh().serving.items()}


def remove_market(path: Path) -> None:
    """Remove the line of a market, and correct the number of markets, as a person could do by mistake."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("FR", "market_count"))]
    path.write_text("\n".join(lines))


ACCIDENTS: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "no table": lambda path: path.write_text("# edited\n"),
    "no lines": lambda path: path.write_text("[markets]\n"),
    "a market removed": remove_market,
    "family unmounted": lambda path: path.parent.rename(path.parent.with_name(".elsewhere")),
    "catalog unmounted": lambda path: path.parent.parent.rename(path.parent.parent.with_name("elsewhere")),
}


@pytest.mark.parametrize("damage", ACCIDENTS.values(), ids=ACCIDENTS)
async def test_an_accident_with_the_activation_file_keeps_every_market_and_is_logged_once(
    small_settings: Settings, small: SmallFamily, damage: Callable[[Path], object]
) -> None:
    before = {"DE": small.bundle_folder.name, "FR": small.bundle_folder.name}
    async with serve(small_settings) as serving:
        registry = serving.application.models
        with capture_logs() as lines:
            damage(small_settings.bundles / "credit" / ACTIVE)
            await wait_until(lambda: asyncio.sleep(0, bool(registry.problems)))
            assert [serving_bundles(registry) for _ in range(3)] == [before] * 3
        health = await health_pb2_grpc.HealthStub(serving.channel).Check(health_pb2.HealthCheckRequest())

    refused = [line for line in lines if line["event"] == "activation refused"]
    assert [line["subject"] for line in refused] == ["credit"]
    assert "the previous bundles of the family continue to serve" in refused[0]["problem"]
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_every_prefix_of_a_new_activation_file_keeps_the_previous_bundles_and_serves_nothing_at_a_start(
    small_settings: Settings, small: SmallFamily, other: SmallFamily
) -> None:
    registry, path = ModelRegistry(small_settings.bundles), small_settings.bundles / "credit" / ACTIVE
    before = serving_bundles(registry)
    copy_bundle(other.bundle_folder, small_settings.bundles)
    activate(small_settings.bundles, other.bundle_folder.name)
    content = path.read_bytes()

    for length in range(len(content) - 1):  # without the last newline, the file is complete
        path.write_bytes(content[:length])
        assert serving_bundles(registry) == before
        with suppress(ActivationRejected):
            assert read_active(small_settings.bundles, "credit") == {}
    path.write_bytes(content)

    assert set(serving_bundles(registry).values()) == {other.bundle_folder.name}
    assert registry.problems == {}
    assert set(before.values()) == {small.bundle_folder.name}


def test_only_a_deactivation_stops_a_market(small_settings: Settings, small: SmallFamily) -> None:
    bundles, registry = small_settings.bundles, ModelRegistry(small_settings.bundles)
    assert set(serving_bundles(registry)) == {"DE", "FR"}

    deactivate(bundles, "credit", ("FR",))

    assert set(serving_bundles(registry)) == {"DE"}
    assert registry.problems == {}
    with pytest.raises(ActivationRejected, match="no credit bundle is active for FR, IT; active markets: DE"):
        deactivate(bundles, "credit", ("IT", "FR"))
    activate(bundles, small.bundle_folder.name, ("FR",))
    assert set(serving_bundles(registry)) == {"DE", "FR"}


def test_a_market_whose_active_bundle_vanished_keeps_it_and_doctor_reports_it(
    small_settings: Settings, small: SmallFamily
) -> None:
    registry, name = ModelRegistry(small_settings.bundles), small.bundle_folder.name
    serving_bundles(registry)
    shutil.rmtree(small_settings.bundles / "credit" / name)
    database = Database(small_settings.database)

    with capture_logs() as lines:
        assert [serving_bundles(registry) for _ in range(3)] == [{"DE": name, "FR": name}] * 3
    found = list(activation_problems(database, small_settings.bundles))
    (small_settings.bundles / "credit" / ACTIVE).write_bytes(b"")
    emptied = list(activation_problems(database, small_settings.bundles))
    database.close()

    assert [line["subject"] for line in lines] == ["credit/DE", "credit/FR"]
    assert "is not in the catalog; it serves from memory until the server stops" in lines[0]["problem"]
    assert [text.split(" of ")[1] for text in found] == [
        f"market {market} is not in the catalog; restore its folder" for market in ("DE", "FR")
    ]
    assert emptied == [
        "credit/ACTIVE.toml: states no bundle for any market; restore the file, or run: python -m server activate"
    ]


async def test_a_bundle_whose_folder_was_deleted_serves_on_from_memory(serving: Serving, small: SmallFamily) -> None:
    shutil.rmtree(serving.settings.bundles / "credit" / small.bundle_folder.name)

    async def is_gone() -> bool:
        return not await list_models(serving)

    await wait_until(is_gone)

    assert await serving_bundle_id(serving) == small.bundle_folder.name


async def test_a_dangling_link_in_a_bundle_invalidates_no_other_bundle(
    small_settings: Settings, small: SmallFamily, other: SmallFamily
) -> None:
    folder = copy_bundle(other.bundle_folder, small_settings.bundles)
    (folder / "stray").symlink_to(Path("nowhere"))

    async with serve(small_settings) as serving:
        states = {name: summary.state for name, summary in (await list_models(serving)).items()}

    assert states == {small.bundle_folder.name: SERVING, folder.name: REFUSED}
