"""The examples in other languages call a real server, and print what the Python client reads from it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

import demo
from grounds_client.channel import ClientCredentials
from grounds_client.client import Client
from grounds_client.errors import CallFailed
from grounds_client.money import Amount
from models.catalog import activate
from server.stores.database import Database
from tests.conftest import LOAD_TIME, ROOT, key_environment
from tests.server.churn_runs import ChurnFamily, write_churn_family
from tests.server.edges.identity.certificates import LOAN_DESK, CertificateAuthority, encode_token, write_key_set
from tests.server.loading import load_file
from tests.small import SmallFamily

KEY = ed25519.Ed25519PrivateKey.generate()
EXAMPLES = ROOT / "examples"
MARKET, CUSTOMER, UNITS, CURRENCY = "DE", "C00000", 1000, "EUR"
# The command of each example, and the file that shows that `make examples` has built it.
COMMANDS = {
    "node": (["node", "client.js"], "node_modules"),
    "java": (["./run.sh"], "build/classes/com/example/GroundsClient.class"),
    "go": (["build/client"], "build/client"),
}


@dataclass(frozen=True)
class _Served:
    """A server, and the credentials with which an example calls it.

    Attributes:
        address: Host and port of the server.
        environment: Environment variables of the example.
        credentials: The same credentials for the Python client.
    """

    address: str
    environment: dict[str, str]
    credentials: ClientCredentials | None = None


@pytest.fixture(scope="module")
def settings(small: SmallFamily, small_database: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return environment variables for a server with the small credit family active and a churn run loaded."""
    folder = tmp_path_factory.mktemp("served")
    family: ChurnFamily = write_churn_family(tmp_path_factory.mktemp("churn"))
    database = f"sqlite:///{shutil.copy(small_database, folder / 'grounds.db')}"
    opened = Database(database)
    load_file(opened, family.first_run, LOAD_TIME)
    opened.close()
    bundles = shutil.copytree(small.bundles, folder / "bundles")
    activate(bundles, small.bundle_folder.name)
    found = {"GROUNDS_BUNDLES": str(bundles), "GROUNDS_POLICY": str(small.policy), "GROUNDS_DATABASE": database}
    return found | key_environment(folder)


def expected_output(served: _Served) -> list[str]:
    """Return the lines that an example prints, from the answers that the Python client gets."""
    with Client(served.address, credentials=served.credentials) as client:
        decision = client.score_credit(MARKET, CUSTOMER, Amount.parse(f"{UNITS}{CURRENCY}"))
        customers = len(list(client.list_churn_risks(MARKET)))
        exported = sum(
            pa.ipc.open_stream(part.arrow_stream).read_all().num_rows for part in client.export_churn_risks(MARKET)
        )
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
        f"export {MARKET}: {exported} customers",
        "error INVALID_ARGUMENT REQUEST_INVALID",
    ]


@pytest.fixture(scope="module", params=["plaintext", "certificates", "token"])
def served(
    request: pytest.FixtureRequest, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Served]:
    """Serve in a process of its own; with TLS, the caller has every role that the examples need."""
    folder = tmp_path_factory.mktemp("credentials")
    changes, environment, credentials = dict[str, str](), dict[str, str](), None
    if request.param != "plaintext":
        ca = CertificateAuthority.create()
        ca.issue(folder, "server")
        certificate, key = ca.issue(folder, "client", (LOAN_DESK,))
        authority = (
            f'[[callers]]\nprincipal = "{LOAN_DESK}"\nroles = ["loan_desk", "crm", "crm_export"]\nmarkets = ["*"]\n'
            "# End of the authority file.\n"
        )
        (folder / "authority.toml").write_text(authority)
        environment["GROUNDS_CA"] = str(ca.write(folder / "ca.pem"))
        names = {"tls_certificate": "server.pem", "tls_key": "server.key", "authority": "authority.toml"}
        if request.param == "certificates":
            names["tls_client_ca"] = "ca.pem"
            environment |= {"GROUNDS_CERTIFICATE": str(certificate), "GROUNDS_KEY": str(key)}
            credentials = ClientCredentials(folder / "ca.pem", certificate, key)
        else:
            names["jwt_keys"] = write_key_set(folder / "keys.json", {"k1": KEY}).name
            changes |= {"GROUNDS_JWT_ISSUER": "https://issuer.example.com", "GROUNDS_JWT_AUDIENCE": "grounds"}
            claims = {"iss": "https://issuer.example.com", "aud": "grounds", "sub": LOAN_DESK, "iat": time.time()}
            token = encode_token({"alg": "EdDSA", "kid": "k1"}, {**claims, "exp": time.time() + 3600}, KEY)
            (folder / "token").write_text(token)
            environment["GROUNDS_TOKEN_FILE"] = str(folder / "token")
            credentials = ClientCredentials(folder / "ca.pem", token_file=folder / "token")
        changes |= {f"GROUNDS_{name.upper()}": str(folder / file) for name, file in names.items()}
    with demo.serving(folder / "log", **settings, **changes) as address:
        yield _Served(address, environment, credentials)


@pytest.mark.parametrize("language", COMMANDS)
def test_an_example_prints_what_the_python_client_reads(language: str, served: _Served) -> None:
    command, product = COMMANDS[language]
    if not (EXAMPLES / language / product).exists():
        problem = f"examples/{language} is not built; run: make examples"
        assert "EXAMPLES_REQUIRED" not in os.environ, problem
        pytest.skip(problem)
    arguments = [served.address, MARKET, CUSTOMER, str(UNITS), CURRENCY, MARKET]

    done = subprocess.run(
        [*command, *arguments],
        cwd=EXAMPLES / language,
        env={**os.environ, **served.environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    wanted = expected_output(served)
    assert lines[: len(wanted)] == wanted
    violations = dict(line.strip().split(": ", 1) for line in lines[len(wanted) :])
    assert set(violations) == {"request_id", "customer", "requested_amount"}
    assert all(violations.values())
