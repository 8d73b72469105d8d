"""Two years of a made portfolio: `watch` names what was planted, in the right month and market, and nothing else."""

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import beta
from sqlalchemy import select
from typer.testing import CliRunner

from grounds.audit.v1 import evidence_pb2
from server.commands.cli import app
from server.model_monitoring.document import watch_document
from server.model_monitoring.page import render_page
from server.model_monitoring.recorded_window import read_window
from server.model_monitoring.review import WatchOptions, review_window
from server.stores.database import Database
from server.stores.record_log.decision_index import DecisionQuery
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.tables import RECORDS
from tests.compat.__main__ import QUESTIONS, settings_of
from tests.conftest import ROOT, key_settings
from tests.console.chromium import check_page, open_chromium
from tests.server.model_monitoring.portfolio import AS_OF, MONTHS, PortfolioTruth, totals, write_portfolio
from tests.server.record_logs import ORIGIN, open_test_log
from tests.small import SmallFamily, made_customers, write_small_family

PURPOSE = "monthly monitoring"
# Runs a command in a process of its own, and prints its largest memory in kilobytes.
_MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
)
DRIFT_MONTH, CONCEPT_MONTH = "2025-03", "2024-08"
LARGE_TURNOVER = 60_000  # about the median


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A written portfolio.

    Attributes:
        folder: The folder of its databases and keys.
        config: The configuration file of its server.
        truth: What was written.
    """

    folder: Path
    config: Path
    truth: PortfolioTruth


def plant_changes(market: str, month: str, customers: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Plant a drift in DE: four of five large firms no longer apply. Plant a concept change in FR: more firms default."""
    if market == "DE" and month >= DRIFT_MONTH:
        stays = (customers["turnover"] <= LARGE_TURNOVER) | (generator.random(len(customers)) < 0.2)
        return customers[stays].reset_index(drop=True)
    if market == "FR" and month >= CONCEPT_MONTH:
        also_bad = generator.random(len(customers)) < 0.25
        return customers.assign(bad=np.maximum(customers["bad"], also_bad.astype(int)))
    return customers


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    return write_small_family(tmp_path_factory.mktemp("family"), customers=made_customers(6000, seed=24))


@pytest.fixture(scope="module")
def portfolio(family: SmallFamily, tmp_path_factory: pytest.TempPathFactory) -> Portfolio:
    folder = tmp_path_factory.mktemp("portfolio")
    with open_test_log(f"sqlite:///{folder / 'grounds.db'}", folder) as log:
        truth = write_portfolio(log, family.bundle(), per_month=300, seed=2024, change=plant_changes)
    return Portfolio(folder, write_config(folder, family.bundles), truth)


def write_config(folder: Path, bundles: Path) -> Path:
    """Write the configuration of a server whose databases are in a folder."""
    config = folder / "config.toml"
    settings = {"bundles": bundles, "database": f"sqlite:///{folder / 'grounds.db'}", "log_origin": ORIGIN}
    config.write_text("\n".join(f'{name} = "{value}"' for name, value in (settings | key_settings(folder)).items()))
    return config


def run_watch(config: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit status and its document."""
    words = ["watch", "--purpose", PURPOSE, "--as-of", f"{AS_OF:%Y-%m-%dT%H:%M:%S}", "--config", str(config)]
    done = CliRunner().invoke(app, [*words, "--json", *options])
    assert done.exit_code in {0, 4, 5}, (done.output, done.exception)
    return done.exit_code, json.loads(done.stdout)


@dataclass(frozen=True, slots=True)
class Watched:
    """The results of one run of the command over the whole portfolio."""

    status: int
    document: dict[str, Any]
    page: Path
    figures: Path


@pytest.fixture(scope="module")
def watched(portfolio: Portfolio, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched")
    page, figures = folder / "page.html", folder / "watch.prom"
    status, document = run_watch(portfolio.config, "--html", str(page), "--figures", str(figures))
    return Watched(status, document, page, figures)


def copy_portfolio(portfolio: Portfolio, family: SmallFamily, folder: Path) -> Path:
    """Copy a portfolio; return the configuration of the copy."""
    shutil.copytree(portfolio.folder, folder, dirs_exist_ok=True)
    return write_config(folder, family.bundles)


class PageReader(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.extend(value or "" for _, value in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_names_the_planted_drift_and_the_planted_change_and_nothing_else(watched: Watched) -> None:
    document = watched.document

    named = {(each["kind"], each["market"], each["month"]) for each in document["findings"]}
    assert named == {("DRIFT", "DE", DRIFT_MONTH), ("CONCEPT_CHANGE", "FR", CONCEPT_MONTH)}
    assert (watched.status, document["verdict"], len(document["findings"])) == (4, "FOUND", 2)
    by_kind = {each["kind"]: each for each in document["findings"]}
    assert by_kind["DRIFT"]["series"][0] == "turnover"
    assert set(by_kind["DRIFT"]["series"]) <= {"turnover", "log-odds"}
    assert "level" in by_kind["CONCEPT_CHANGE"]["series"]
    read = PageReader(watched.page.read_text())
    text = " ".join(read.texts)
    assert all(each["text"] in text for each in document["findings"])
    assert read.tags["li"] == 2 + 1, "two findings, and one note about vintages that are too young"
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert not [value for value in read.attributes if "//" in value or value.startswith("javascript")]
    assert read.tags["svg"] == 4


def test_the_page_is_accessible_fits_a_telephone_and_loads_nothing(watched: Watched) -> None:
    with open_chromium() as browser:
        for width in (360, 1300):
            requested: list[str] = []
            page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
            page.on("request", lambda request, requested=requested: requested.append(request.url))
            page.goto(watched.page.as_uri())

            check_page(page)

            assert requested == [watched.page.as_uri()]


def test_alarms_occur_only_where_something_was_planted(watched: Watched) -> None:
    alarms = {
        (each["market"], each["series"], each["month"])
        for each in watched.document["drift"]
        if each["verdict"] == "DRIFT"
    }
    changed = {(each["market"], each["month"]) for each in watched.document["vintages"] if each["verdict"] == "CHANGED"}

    planted = {("DE", "turnover", month) for month in MONTHS if month >= DRIFT_MONTH}
    assert planted <= alarms <= planted | {("DE", "log-odds", month) for _, _, month in planted}
    assert changed == {("FR", month) for month in MONTHS if CONCEPT_MONTH <= month < "2025-01"}
    assert watched.document["tests"]["drift"]["tests"] == 2 * 24 * 5, "four features and the log-odds"


def test_the_counts_are_those_of_what_was_written_and_a_vintage_waits_for_its_outcome_window(
    portfolio: Portfolio, watched: Watched
) -> None:
    truth = portfolio.truth
    rows = {(each["market"], each["month"]): each for each in watched.document["decisions"]}
    vintages = {(each["market"], each["month"]): each for each in watched.document["vintages"]}

    assert {key: each["decisions"] for key, each in rows.items()} == truth.decisions
    assert {key: sum(each["sides"].values()) for key, each in rows.items()} == truth.overrides
    assert {key: each["booked"] for key, each in vintages.items()} == truth.booked
    for key, each in rows.items():
        approved, count = truth.approvals[key], truth.decisions[key]
        assert sum(each["outcomes"].values()) == sum(each["grades"].values()) == count
        low, high = (beta.ppf(tail, approved + 0.5, count - approved + 0.5) for tail in (0.025, 0.975))
        assert each["approval"] == pytest.approx({"value": approved / count, "low": low, "high": high})
    for (market, month), each in vintages.items():
        if month < "2025-01":  # the last twelve months before January 2026 are too young
            assert each["defaults"] == truth.defaults[market, month]
            assert sum(grade["booked"] for grade in each["grades"]) == each["booked"]
            assert sum(grade["defaults"] for grade in each["grades"]) == each["defaults"]
        else:
            assert (each["verdict"], each["defaults"], each["gini"], each["grades"]) == ("IMMATURE", None, None, [])
            assert each["expected_rate"] is not None
            assert each["expected_gini"] is not None


def test_before_the_concept_change_the_estimate_is_close_to_what_happened_later(watched: Watched) -> None:
    """The interval of each vintage has 95 % confidence, so about one of twenty may miss."""
    before = [each for each in watched.document["vintages"] if each["month"] < CONCEPT_MONTH]

    inside = [each["observed_rate"]["low"] <= each["expected_rate"] <= each["observed_rate"]["high"] for each in before]
    gini_inside = [each["gini"]["low"] <= each["expected_gini"] <= each["gini"]["high"] for each in before]

    assert len(before) == 14
    assert sum(inside) >= 11
    assert sum(gini_inside) >= 11


@pytest.mark.long
@pytest.mark.parametrize("seed", [1_000, 2_000, 3_000])
def test_two_years_without_a_planted_change_name_nothing(family: SmallFamily, tmp_path: Path, seed: int) -> None:
    with open_test_log(f"sqlite:///{tmp_path / 'grounds.db'}", tmp_path) as log:
        truth = write_portfolio(log, family.bundle(), per_month=300, seed=seed)

    status, document = run_watch(write_config(tmp_path, family.bundles))

    assert (status, document["findings"]) == (0, [])
    assert document["tests"]["drift"]["tests"] == 2 * 24 * 5
    assert document["records"]["read"] == sum(truth.decisions.values())


def test_a_smaller_window_of_one_market_without_a_change_finds_nothing_and_says_so(portfolio: Portfolio) -> None:
    options = ("--as-of", "2025-03-01", "--months", "6", "--market", "DE")

    status, document = run_watch(portfolio.config, *options)

    assert (status, document["verdict"], document["findings"]) == (0, "NOTHING_FOUND", [])
    count = totals(portfolio.truth.decisions, "DE", [month for month in MONTHS if "2024-09" <= month <= "2025-02"])
    assert document["summary"].startswith(
        f"Nothing found: {count:,} of {count:,} decisions were read; 30 distributions"
    )
    assert document["window"] | {"as_of": ""} == {
        "from": "2024-09-01",
        "to": "2025-03-01",
        "as_of": "",
        "market": "DE",
        "outcome_months": 12,
    }


def test_outcomes_recorded_after_the_time_of_the_view_are_not_known_to_it(portfolio: Portfolio) -> None:
    document = run_watch(portfolio.config, "--as-of", "2024-03-01", "--months", "2", "--outcome-months", "1")[1]

    judged = [each for each in document["vintages"] if each["verdict"] != "IMMATURE"]

    assert {each["month"] for each in judged} == {"2024-01"}
    assert sum(each["defaults"] for each in judged) < totals(portfolio.truth.defaults, "DE", ["2024-01"])


def test_no_number_or_id_of_a_customer_or_decision_leaves(portfolio: Portfolio, watched: Watched) -> None:
    database = Database(f"sqlite:///{portfolio.folder / 'grounds.db'}")
    with database.reading() as connection:
        ids = set(connection.execute(select(RECORDS.c.record_id)).scalars())
        tags = set(connection.execute(select(RECORDS.c.customer_tag)).scalars())
    database.close()
    for text in (watched.page.read_text(), watched.figures.read_text(), json.dumps(watched.document)):
        words = set(re.findall(r"[\w-]+", text))
        assert not words & ids
        assert not words & tags
        assert not re.search(r"\d{4}-\d{2}-\d{5}", text), "the form of customer numbers"
    assert watched.page.stat().st_mode & 0o777 == 0o600
    assert watched.figures.stat().st_mode & 0o444 == 0o444, "the node exporter runs as another user"


def test_the_figures_for_alerts_are_those_of_the_document(watched: Watched) -> None:
    document = watched.document
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in text_string_to_metric_families(watched.figures.read_text())
        for sample in metric.samples
    }
    assert samples["grounds_watch_findings", ("DRIFT", "DE")] == 1
    assert samples["grounds_watch_findings", ("DRIFT", "FR")] == 0
    assert samples["grounds_watch_findings", ("CONCEPT_CHANGE", "FR")] == 1
    assert samples["grounds_watch_findings", ("CONCEPT_CHANGE", "DE")] == 0
    psi = {(each["market"], each["series"]): each["psi"] for each in document["drift"] if each["month"] == MONTHS[-1]}
    assert {labels: value for (name, labels), value in samples.items() if name == "grounds_watch_psi"} == psi
    newest = [each for each in document["vintages"] if each["month"] == "2024-12"]
    for each in newest:
        assert samples["grounds_watch_default_ratio", (each["market"],)] == each["defaults"] / each["booked"]
    assert 0 <= dt.datetime.now(dt.UTC).timestamp() - samples["grounds_watch_timestamp_seconds", ()] < 3600


@pytest.fixture
def damaged(portfolio: Portfolio, family: SmallFamily, tmp_path: Path) -> Path:
    """Return the configuration of a copy in which a customer was erased and two records were damaged."""
    config = copy_portfolio(portfolio, family, tmp_path / "copy")
    with open_test_log(f"sqlite:///{tmp_path / 'copy' / 'grounds.db'}", tmp_path / "copy") as log:
        tag = log.customer_tag("DE", "2024-02-00007")
        log.key_store.destroy({log.key_store.find_by_owner({tag}).popitem()[1].key_id})
        with log.database.writing() as connection:
            for kind in ("CREDIT_DECISION", "CREDIT_OUTCOME"):
                wanted = (
                    select(RECORDS.c.record_index)
                    .where(RECORDS.c.kind == kind, RECORDS.c.market == "FR")
                    .order_by(RECORDS.c.time_us)
                    .limit(1)
                )
                index = connection.execute(wanted).scalar_one()
                connection.execute(RECORDS.update().where(RECORDS.c.record_index == index).values(ciphertext=b"x" * 99))
    return config


def test_erased_customers_and_records_that_cannot_be_read_are_counted_and_named(
    damaged: Path, portfolio: Portfolio, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    document = run_watch(damaged, "--html", str(page), "--as-of", "2024-04-01", "--months", "3")[1]

    records = document["records"]
    assert records["left_out"] == {"customer erased": 1, "record damaged": 1}
    assert records["erased_customers"] == 1
    first = MONTHS[:3]
    count = sum(totals(portfolio.truth.decisions, market, first) for market in ("DE", "FR"))
    assert records["read"] == count - 2
    assert records["events_left_out"]["record damaged"] == 1
    text = " ".join(PageReader(page.read_text()).texts)
    assert "Not read: 1 decisions (customer erased)" in text
    assert "Not read: 1 decisions (record damaged)" in text


def test_a_run_that_can_read_no_decision_of_one_market_ends_with_its_own_status(
    portfolio: Portfolio, family: SmallFamily, tmp_path: Path
) -> None:
    config, figures = copy_portfolio(portfolio, family, tmp_path / "copy"), tmp_path / "watch.prom"
    window = ("--as-of", "2025-03-01", "--months", "2")
    before = run_watch(config, *window)
    database = Database(f"sqlite:///{tmp_path / 'copy' / 'grounds.db'}")
    with database.writing() as connection:
        decisions = RECORDS.c.kind == "CREDIT_DECISION", RECORDS.c.market == "FR"
        connection.execute(RECORDS.update().where(*decisions).values(ciphertext=b"x" * 99))
    database.close()

    status, document = run_watch(config, *window, "--figures", str(figures))

    assert (before[0], before[1]["verdict"]) == (0, "NOTHING_FOUND")
    assert (status, document["verdict"], document["untested_markets"]) == (5, "PARTLY_JUDGED", ["FR"])
    unread = totals(portfolio.truth.decisions, "FR", ["2025-01", "2025-02"])
    assert f'grounds_watch_unread_records{{reason="record damaged"}} {unread}.0' in figures.read_text()
    assert 'grounds_watch_untested{market="FR"} 1.0' in figures.read_text()


def test_a_small_market_ends_with_its_own_status_unless_the_operator_expects_it(
    portfolio: Portfolio, family: SmallFamily, tmp_path: Path
) -> None:
    config, window = copy_portfolio(portfolio, family, tmp_path / "copy"), ("--as-of", "2025-02-01", "--months", "1")
    database = Database(f"sqlite:///{tmp_path / 'copy' / 'grounds.db'}")
    with database.writing() as connection:
        decisions = RECORDS.c.kind == "CREDIT_DECISION", RECORDS.c.market == "FR"
        connection.execute(RECORDS.delete().where(*decisions, RECORDS.c.record_index % 10 > 0))
    database.close()

    status, document = run_watch(config, *window)
    expected_status, expected = run_watch(config, *window, "--small-market", "LU", "--small-market", "FR")

    customers = {each["market"]: each["customers"] for each in document["decisions"]}
    assert 0 < customers["FR"] < 100 <= customers["DE"]
    assert (status, document["untested_markets"], document["markets_too_small"]) == (5, ["FR"], [])
    assert (expected_status, expected["untested_markets"], expected["markets_too_small"]) == (0, ["FR"], ["FR"])


@pytest.mark.long
def test_two_years_of_two_markets_take_less_than_20_seconds_and_400_mib(portfolio: Portfolio) -> None:
    command = [sys.executable, "-m", "server", "watch", "--purpose", PURPOSE, "--config", str(portfolio.config)]
    before = os.times()

    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command, "--as-of", f"{AS_OF:%Y-%m-%dT%H:%M:%S}", "--json"],
        check=False,
        capture_output=True,
        text=True,
    )

    after, kilobytes = os.times(), int(done.stderr.split()[-1])
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    assert json.loads(done.stdout)["records"]["read"] == sum(portfolio.truth.decisions.values()) > 12_000
    assert processor < 20, f"{processor:.1f} seconds of processor time"
    assert kilobytes < 400 * 1024, f"{kilobytes / 1024:.0f} MiB"


def test_the_reading_is_recorded_once_with_its_purpose_before_anything_is_read(
    portfolio: Portfolio, family: SmallFamily, tmp_path: Path
) -> None:
    config = copy_portfolio(portfolio, family, tmp_path)
    with open_test_log(f"sqlite:///{tmp_path / 'grounds.db'}", tmp_path) as log:
        before = count_readings(log)

    run_watch(config, "--months", "3", "--market", "FR")

    with open_test_log(f"sqlite:///{tmp_path / 'grounds.db'}", tmp_path) as log:
        assert count_readings(log) == before + 1
        with log.database.reading() as connection:
            wanted = select(RECORDS.c.record_id).where(RECORDS.c.kind == "EVIDENCE_READING")
            newest = connection.execute(wanted.order_by(RECORDS.c.record_index.desc()).limit(1)).scalar_one()
        record = log.find_by_id(newest)
    assert record is not None
    body = evidence_pb2.EvidenceReadingRecord.FromString(record.body)
    count = totals(portfolio.truth.decisions, "FR", MONTHS[-3:])
    assert (body.purpose, body.method, body.market, body.decision_count) == (PURPOSE, "watch", "FR", count)
    assert body.start_time.ToDatetime() == dt.datetime(2025, 10, 1)  # noqa: DTZ001 - protobuf returns naive UTC
    assert body.end_time.ToDatetime() == dt.datetime(2026, 1, 1)  # noqa: DTZ001


def count_readings(log: Any) -> int:
    """Return the number of recorded readings."""
    with log.database.reading() as connection:
        return len(connection.execute(select(RECORDS.c.record_id).where(RECORDS.c.kind == "EVIDENCE_READING")).all())


def test_without_the_bundle_the_page_says_that_nothing_can_be_compared(
    portfolio: Portfolio, family: SmallFamily, tmp_path: Path
) -> None:
    config = copy_portfolio(portfolio, family, tmp_path)
    config.write_text(config.read_text().replace(str(family.bundles), str(tmp_path / "empty")))

    status, document = run_watch(config, "--months", "2")

    assert (status, document["verdict"]) == (5, "NOTHING_JUDGED")
    assert document["bundles"][0]["problem"] == "the bundle is missing or invalid; restore it to the catalog"
    assert {each["verdict"] for each in document["drift"]} == {"NO_POPULATION"}
    assert {each["psi"] for each in document["drift"]} == {None}


def test_a_bundle_of_format_1_has_no_population_and_the_page_says_so(tmp_path: Path) -> None:
    """The log of an earlier release has decisions by a bundle of format 1."""
    folder = shutil.copytree(ROOT / "tests" / "compat" / "1", tmp_path / "1")
    settings = settings_of(folder, tmp_path)
    database = Database(settings.database)
    database.migrate()
    log = open_log(database, KeyLocations.from_settings(settings))
    query = DecisionQuery(start=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), end=dt.datetime(2040, 1, 1, tzinfo=dt.UTC))
    assert query.end is not None
    at = dt.datetime.now(dt.UTC)

    window = read_window(log, query, query.end, purpose=PURPOSE, operator="ana", at=at)
    document = watch_document(review_window(window, settings.bundles, WatchOptions(12, 0.05, "")))

    log.close()
    database.close()
    problem = "format 1 has no population; train the model again to compare with it"
    assert document["records"]["read"] == len(QUESTIONS)
    assert document["verdict"] == "NOTHING_JUDGED"
    assert [each["problem"] for each in document["bundles"]] == [problem]
    assert {each["verdict"] for each in document["drift"]} == {"NO_POPULATION"}
    assert problem in " ".join(PageReader(render_page(document)).texts)
