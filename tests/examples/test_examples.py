"""The examples in other languages call a real server, and print what the Python client reads from it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo
from grounds_client.client import Client
from grounds_client.errors import CallFailed
from grounds_client.money import Amount
from models.catalog import activate
from server.stores.database import Database
from tests.conftest import LOAD_TIME, ROOT, key_environment
from tests.server.churn_runs import ChurnFamily, write_churn_family
from tests.server.loading import load_file
from tests.small import SmallFamily

EXAMPLES = ROOT / "examples"
MARKET, CUSTOMER, UNITS, CURRENCY = "DE", "C00000", 1000, "EUR"
# The command of each example, and the file that shows that `make examples` has built it.
COMMANDS = {
    "node": (["node", "client.js"], "node_modules"),
    "java": (["./run.sh"], "build/classes/com/example/GroundsClient.class"),
    "go": (["build/client"], "build/client"),
}


@pytest.fixture(scope="module")
def address(small: SmallFamily, small_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the small family and a run of a small churn family in a process of its own."""
    folder = tmp_path_factory.mktemp("served")
    family: ChurnFamily = write_churn_family(tmp_path_factory.mktemp("churn"))
    database = f"sqlite:///{shutil.copy(small_database, folder / 'grounds.db')}"
    opened = Database(database)
    load_file(opened, family.first_run, LOAD_TIME)
    opened.close()
    bundles = shutil.copytree(small.bundles, folder / "bundles")
    activate(bundles, small.bundle_folder.name)
    settings = {"GROUNDS_BUNDLES": str(bundles), "GROUNDS_POLICY": str(small.policy), "GROUNDS_DATABASE": database}
    with demo.serving(folder / "log", **settings, **key_environment(folder)) as served:
        yield served


def expected_output(address: str) -> list[str]:
    """Return the lines that an example prints, from the answers that the Python client gets."""
    with Client(address) as client:
        decision = client.score_credit(MARKET, CUSTOMER, Amount.parse(f"{UNITS}{CURRENCY}"))
        customers = len(list(client.list_churn_risks(MARKET)))
        run = next(run for run in client.list_churn_runs() if run.market == MARKET)
        with pytest.raises(CallFailed) as refused:
            client.get_credit_decision("1")
    assert refused.value.reason == "REQUEST_INVALID"
    output, explanation = decision.assessment.model_output, decision.assessment.explanation
    points = [(contribution.points, contribution.feature) for contribution in explanation.contributions]
    name = type(decision).DESCRIPTOR.fields_by_name["decision"].enum_type.values_by_number[decision.decision].name  # type: ignore[union-attr] # an enum field has an enum type
    return [
        f"decision {name.removeprefix('DECISION_')} score {output.score} grade {output.grade} pd {output.pd:.4f}",
        f"  {explanation.base_points} baseline",
        *(f"  {number} {feature}" for number, feature in points),
        f"  {output.score} sum",
        *(f"reason {reason.code}: {reason.text}" for reason in decision.assessment.reasons.reasons),
        f"list {MARKET}: {customers} customers on {-(-customers // 100)} pages",
        f"export {MARKET}: {run.customer_count} customers",
        "error INVALID_ARGUMENT REQUEST_INVALID",
    ]


@pytest.mark.parametrize("language", COMMANDS)
def test_an_example_prints_what_the_python_client_reads(language: str, address: str) -> None:
    command, product = COMMANDS[language]
    if not (EXAMPLES / language / product).exists():
        problem = f"examples/{language} is not built; run: make examples"
        assert "EXAMPLES_REQUIRED" not in os.environ, problem
        pytest.skip(problem)
    arguments = [address, MARKET, CUSTOMER, str(UNITS), CURRENCY, MARKET]

    done = subprocess.run(
        [*command, *arguments], cwd=EXAMPLES / language, check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    wanted = expected_output(address)
    assert lines[: len(wanted)] == wanted
    violations = dict(line.strip().split(": ", 1) for line in lines[len(wanted) :])
    assert set(violations) == {"request_id", "customer", "requested_amount"}
    assert all(violations.values())
