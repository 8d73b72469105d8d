"""A different data set is served without writing Python: it takes a CSV file, a spec, a policy and the commands."""

import random
from decimal import Decimal
from pathlib import Path

import demo
from grounds_client import Amount, Client
from tests.conftest import key_settings, run
from tests.e2e.processes import write_config

SPEC = """
family = "credit"
title = "Caterers who pay late"
purpose = "A spec with other column names, with a market column, a time column, and a value from the caller"
population = "generated"

[table]
customer_id = "Kundennummer"
label = "ausgefallen"
market_column = "Land"
as_of_column = "Stand"

[search]
trials = 2
folds = 2

[[features]]
name = "overdue_share"
column = "Anteil ueberfaellig"
unit = "share"
min = 0
max = 1
sign = 1
mandatory = true

[[features]]
name = "seats"
column = "Plaetze"
source = "CALLER"
"""
POLICY = """
version = "own-1"
[[sections]]
market = "AT"
effective_from = 2026-01-01
currency = "EUR"
approve_max_pd = 0.3
refer_max_pd = 0.6
lgd = 0.5
largest_amount = 9000
features_max_age_days = 36000
valid_days = 7
[texts.GRADE_LIMIT]
en = "at most {limit} {currency}"
[texts.FEATURES_TOO_OLD]
en = "older than {allowed_days} days"
[texts.REASON_AGAINST_SIGN]
en = "against the sign: {features}"
[texts.LARGEST_AMOUNT]
en = "above {largest_amount} {currency}"
[texts.MISSING_INPUT]
en = "missing {features}"
# End of the policy.
"""


def write_csv(path: Path) -> None:
    """Write a CSV file of 900 generated caterers in two countries."""
    chance = random.Random(1)  # noqa: S311 - test data
    lines = ["Kundennummer,Land,Stand,Anteil ueberfaellig,Plaetze,ausgefallen"]
    for number in range(900):
        share, seats = round(chance.random() ** 2, 3), chance.randrange(10, 200)
        bad = int(chance.random() < 0.1 + 0.6 * share)
        gap = "" if number % 11 == 0 else seats
        lines.append(f"K-{number},{'AT' if number % 3 else 'CH'},2026-05-0{number % 9 + 1},{share},{gap},{bad}")
    path.write_text("\n".join(lines))


def write_own_files(folder: Path, spec: str) -> tuple[Path, dict[str, str]]:
    """Write a spec, the policy and the configuration of a server.

    Returns:
        The path of the configuration, and the same settings as environment variables.
    """
    (folder / "spec.toml").write_text(spec)
    (folder / "policy.toml").write_text(POLICY)
    settings = {
        "bundles": folder / "bundles",
        "policy": folder / "policy.toml",
        "database": f"sqlite:///{folder}/own.db",
        **key_settings(folder),
    }
    environment = {f"GROUNDS_{name.upper()}": str(value) for name, value in settings.items()}
    return write_config(folder / "config.toml", settings), environment


def test_an_own_csv_file_and_spec_lead_to_an_explained_score(tmp_path: Path) -> None:
    write_csv(tmp_path / "kunden.csv")
    config, environment = write_own_files(tmp_path, SPEC)

    run(
        *("training", "fit", str(tmp_path / "spec.toml"), "--data", str(tmp_path / "kunden.csv")),
        *("--bundles", str(tmp_path / "bundles"), "--files", str(tmp_path / "files")),
    )
    bundle_id = next(path.name for path in (tmp_path / "bundles" / "credit").iterdir() if path.is_dir())
    run("server", "activate", bundle_id[:12], "--config", str(config))
    run("server", "load", str(tmp_path / "files" / "credit.features.parquet"), "--config", str(config))
    with demo.serving(tmp_path / "log", **environment) as address, Client(address) as client:
        decision = client.score_credit("AT", "K-1", Amount(Decimal(100), "EUR"), features={"seats": 55.0})

    assessment = decision.assessment
    contributions = assessment.explanation.contributions
    assert [one.feature for one in contributions] == ["overdue_share", "seats"]
    assert (
        assessment.explanation.base_points + sum(one.points for one in contributions) == assessment.model_output.score
    )
    assert contributions[1].value.number == 55.0
