"""The metrics: what they count, that they contain nothing about customers, and that rules and dashboard use them."""

import datetime as dt
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.config import Settings
from server.measurements import read_store_figures
from server.stores.database import Database
from server.stores.tables import RUNS
from tests.conftest import ROOT, Serving
from tests.server.monitoring.scrapes import get
from tests.server.record_logs import NOW, entry, open_test_log
from tests.server.requests import UNKNOWN_CUSTOMER, call_error, customer, euros, field, numbers, score_request
from tests.server.servers import serve, wait_until

RULES, DASHBOARD = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/grafana/grounds.json"
SCORE = "grounds.credit.v1.CreditService/ScoreCredit"
# What Prometheus itself adds, and what the rules record.
# `watch` writes the metrics grounds_watch_*, and its tests compare them with its document.
OTHER_NAMES = re.compile(
    r"up|grounds_worker_up|grounds:.*|grounds_watch_(findings|timestamp_seconds|untested|unread_records)"
)


@pytest.fixture
async def watched(small_settings: Settings) -> AsyncIterator[Serving]:
    """Start a server with an HTTP endpoint."""
    async with serve(small_settings.model_copy(update={"metrics_address": "0"})) as serving:
        await wait_until(lambda: has_measured(serving))
        yield serving


async def has_measured(serving: Serving) -> bool:
    """Return whether the server has read the figures of its databases."""
    return bool(serving.application.measurements.figures.up)


async def samples(serving: Serving) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Scrape a server; return the value of each series by name and labels."""
    status, content = await get(serving.application, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(content.decode())
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


async def test_a_scrape_counts_calls_reasons_stages_commits_and_decisions(watched: Serving) -> None:
    answer = await watched.credit.ScoreCredit(score_request())
    await call_error(watched.credit.ScoreCredit(score_request(customer=customer("DE", UNKNOWN_CUSTOMER))))
    found = await samples(watched)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    grade = answer.credit_decision.assessment.model_output.grade
    codes = {"rpc_system_name": "grpc", "rpc_method": SCORE}
    assert value("rpc_server_call_duration_seconds_count", **codes, rpc_response_status_code="OK") == 1
    assert value("rpc_server_call_duration_seconds_count", **codes, rpc_response_status_code="NOT_FOUND") == 1
    assert value("grounds_calls_total", method=SCORE, reason="CUSTOMER_UNKNOWN") == 1
    for stage in ("validate", "features", "score", "seal", "commit"):
        assert value("grounds_stage_duration_seconds_sum", stage=stage) > 0
    assert value("grounds_commit_records_sum") == 1
    decided = {key: count for key, count in found.items() if key[0] == "grounds_decisions_total"}
    assert list(decided.values()) == [1]
    assert dict(next(iter(decided))[1]).keys() == {"market", "outcome", "grade"}
    assert not grade or ("grade", grade) in next(iter(decided))[1]
    assert value("grounds_features_age_seconds_count", market="DE") == 1
    assert value("grounds_record_log_writable") == 1
    assert value("grounds_database_up", database="records") == value("grounds_database_up", database="keys") == 1
    assert value("grounds_database_bytes", database="records", file="wal") > 0
    assert value("grounds_calls_in_flight", **{"class": "loan_desk"}) == 0
    bundle = next(iter(watched.application.models.current.serving.values())).bundle.bundle_id
    assert value("grounds_active_bundle_info", family="credit", market="DE", bundle=bundle) == 1


async def test_a_decision_counts_once_however_often_it_is_answered_and_also_in_a_batch(watched: Serving) -> None:
    first, second = score_request(), score_request()
    await watched.credit.ScoreCredit(first)
    await watched.credit.ScoreCredit(first)
    method: Any = watched.channel.unary_stream("/grounds.credit.v1.CreditService/BatchScoreCredit")
    batch = b"".join(
        field(1, each) for each in (first, second, score_request(customer=customer("DE", UNKNOWN_CUSTOMER)))
    )
    async for _ in method(batch):
        pass
    found = await samples(watched)

    assert sum(count for (name, _), count in found.items() if name == "grounds_decisions_total") == 2
    assert found["grounds_features_age_seconds_count", frozenset({("market", "DE")})] == 2


def test_the_figures_of_both_kinds_of_database_state_size_newest_record_and_newest_run(
    database_url: str, tmp_path: Path
) -> None:
    """The planted faults: a run that is not loaded does not count, and a database without a folder is down."""
    absent, day = Database(f"sqlite:///{tmp_path / 'no-folder' / 'keys.db'}"), dt.timedelta(days=1)
    with open_test_log(database_url, tmp_path) as log:
        log.append([entry() for _ in range(3)])
        with log.database.writing() as connection:
            for number, (state, as_of) in enumerate((("LOADED", NOW - day), ("LOADED", NOW), ("LOADING", NOW + day))):
                times = {"as_of": as_of, "valid_until": NOW, "load_time": NOW}
                names = {"run_id": f"{number:032}", "market": "DE", "state": state, "file_sha256": "", "header": ""}
                run = RUNS.insert().values(**names, **times, customer_count=0, scored_count=0)
                connection.execute(run)
        figures = read_store_figures(log.database, absent)

    assert figures.up == {"records": True, "keys": False}
    assert figures.file_bytes["records", "database"] > 0
    assert (figures.log_size, figures.newest_record) == (3, pytest.approx(NOW.timestamp(), abs=1))
    assert figures.newest_cuts == {"DE": NOW.timestamp()}


async def test_no_call_adds_a_label_with_a_value_of_a_customer_or_without_a_bound(watched: Serving) -> None:
    """Every kind of call is sent once, then many times with other values, methods and names: no series is added."""
    stub: Any = watched.channel.unary_unary
    wrong = (
        lambda number: score_request(customer=customer("DE", f"{UNKNOWN_CUSTOMER}{number}")),
        lambda number: score_request(customer=customer("ZZ", f"C{number}")),
        lambda number: score_request(customer=customer(f"secret{number}", "C00000")),
        lambda number: score_request(features=numbers(turnover=7712345.0 + number, years=-77.0 - number)),
        lambda number: score_request(request_id=f"secret{number}"),
        lambda number: score_request(product=f"secret{number}"),
    )

    async def send(number: int) -> None:
        await watched.credit.ScoreCredit(
            score_request(request_id=str(uuid.uuid4()), requested_amount=euros(31000 + number))
        )
        for request in wrong:
            await call_error(watched.credit.ScoreCredit(request(number)))
        await call_error(stub(f"/grounds.credit.v1.CreditService/Secret{number}")(b""))
        await call_error(stub(f"/secret{number}.Service/Method")(b""))

    await send(0)
    before = set(await samples(watched))
    for number in range(1, 6):
        await send(number)
    after = set(await samples(watched))
    written = str(after)

    assert after - before == set()
    for secret in ("secret", UNKNOWN_CUSTOMER, "C00000", "7712345", "77.", "31000"):
        assert secret not in written


def expressions() -> list[str]:
    """Return the expressions of all alert rules and of all panels of the dashboard."""
    rules = re.findall(r"^ *expr: (.*)$", RULES.read_text(), re.MULTILINE)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


def metric_names(expression: str) -> set[str]:
    """Return the names of metrics in an expression of PromQL, without strings, labels and the lists of `by`."""
    text = re.sub(r"\{[^}]*\}|\bby \([^)]*\)", " ", expression)
    return set(re.findall(r"(?:grounds|rpc|process)[\w:]*|\bup\b", text))


async def test_every_metric_in_the_rules_and_the_dashboard_exists(watched: Serving) -> None:
    await watched.credit.ScoreCredit(score_request())
    content = (await get(watched.application, "/metrics"))[1].decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", content, re.MULTILINE))
    parts = {
        name + part for name, kind in kinds.items() if kind == "histogram" for part in ("_bucket", "_sum", "_count")
    }
    used = set().union(*map(metric_names, expressions()))

    assert len(used) > 25
    assert {name for name in used if not OTHER_NAMES.fullmatch(name)} - set(kinds) - parts == set()
    assert {f"# HELP {name}" for name in kinds} <= {" ".join(line.split()[:3]) for line in content.splitlines()}


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian's package prometheus contains it")
def test_promtool_accepts_the_rules_and_the_rules_fire_as_they_should(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(Path(__file__).with_name("alert_cases.yml").read_text().replace("RULES", str(RULES)))

    for arguments in (("check", "rules", str(RULES)), ("test", "rules", str(cases))):
        done = subprocess.run([str(PROMTOOL), *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian's package prometheus contains it")
async def test_promtool_accepts_the_metrics(watched: Serving) -> None:
    await watched.credit.ScoreCredit(score_request())
    content = (await get(watched.application, "/metrics"))[1]

    done = subprocess.run([str(PROMTOOL), "check", "metrics"], check=False, input=content, capture_output=True)  # noqa: ASYNC221 - short

    assert done.returncode == 0, done.stderr.decode()
