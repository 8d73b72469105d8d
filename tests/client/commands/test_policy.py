"""The command `policy`, against a real server."""

from google.protobuf.json_format import Parse

from grounds.credit.v1 import credit_pb2
from server.config import Settings
from tests.client.command_line import run_process
from tests.conftest import Serving
from tests.server.edges.credit.test_decisions import policy_with_hard_rules, settings_with_policy
from tests.server.servers import serve


async def test_the_policy_is_shown_with_its_limits_facts_and_reasons(small_settings: Settings) -> None:
    async with serve(settings_with_policy(small_settings, policy_with_hard_rules())) as serving:
        done = await run_process(serving, "policy", "--market", "DE")

    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "DE STANDARD, from 2020-01-01"
    assert "largest amount 50,000.00 EUR" in lines
    assert any(line.startswith("fact blocked yes: DECLINE; otherwise no; if missing ") for line in lines)
    assert "override FRAUD_SUSPECTED Fraud is suspected" in lines


async def test_json_is_one_protobuf_json_document(serving: Serving) -> None:
    done = await run_process(serving, "policy", "--json")

    policy = Parse(done.stdout, credit_pb2.GetPolicyResponse())
    assert [section.market for section in policy.sections] == ["DE", "FR"]


async def test_a_market_without_a_policy_is_an_error(serving: Serving) -> None:
    done = await run_process(serving, "policy", "--market", "IT")

    assert done.returncode == 1
    assert "market IT" in done.stderr
