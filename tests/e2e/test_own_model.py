"""A model that LightGBM alone fitted becomes a bundle that decides over a real channel; its decisions are replayed."""

from decimal import Decimal
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd

import demo
from grounds_client import Amount, Client
from models.bundle import read_bundle
from tests.conftest import run
from tests.e2e.test_own_data import write_own_files

SPEC = """
family = "credit"
title = "Caterers who pay late"
purpose = "A model that was fitted elsewhere"
population = "generated"

[table]
customer_id = "Kundennummer"
label = "ausgefallen"
market = "AT"
as_of = 2026-05-01

[[features]]
name = "overdue"
column = "Anteil ueberfaellig"
sign = 1

[[features]]
name = "sector"
column = "Branche"
kind = "category"

[[features]]
name = "seats"
column = "Plaetze"
"""
SECTORS = ("Bäckerei", "Hotel", "Kantine", "Schule")
SCORED = 25


def write_customers(path: Path, first: int, count: int) -> pd.DataFrame:
    """Write a CSV file of generated caterers with text and missing values; return it as pandas reads it."""
    random = np.random.default_rng(first)
    overdue, sector = np.round(random.random(count) ** 2, 3), random.integers(0, len(SECTORS), count)
    chance = 0.05 + 0.6 * overdue + 0.2 * (sector == 1)
    table = pd.DataFrame(
        {
            "Kundennummer": [f"K-{first + number}" for number in range(count)],
            "Anteil ueberfaellig": np.where(random.random(count) < 0.1, np.nan, overdue),
            "Branche": np.where(random.random(count) < 0.1, None, np.array(SECTORS)[sector]),
            "Plaetze": np.where(random.random(count) < 0.1, np.nan, random.integers(10, 200, count)),
            "ausgefallen": (random.random(count) < chance).astype(int),
        }
    )
    table.to_csv(path, index=False)
    return pd.read_csv(path)


def model_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return the features of a table, prepared for LightGBM with pandas as is usual."""
    frame = table[["Anteil ueberfaellig", "Branche", "Plaetze"]]
    return frame.assign(Branche=pd.Categorical(frame["Branche"], categories=sorted(SECTORS)))


def test_a_model_that_was_fitted_elsewhere_is_released_decides_and_is_replayed_to_the_bit(tmp_path: Path) -> None:
    fitted, later = (
        write_customers(tmp_path / "fitted.csv", 0, 3000),
        write_customers(tmp_path / "later.csv", 5000, 2500),
    )
    parameters = {"objective": "binary", "num_leaves": 7, "learning_rate": 0.1, "verbose": -1, "num_threads": 1}
    parameters |= {"monotone_constraints": [1, 0, 0], "min_data_per_group": 20}
    booster = lightgbm.train(parameters, lightgbm.Dataset(model_frame(fitted), fitted["ausgefallen"]), 30)
    booster.save_model(tmp_path / "own.txt")
    config, environment = write_own_files(tmp_path, SPEC)

    printed = run(
        *("training", "export", str(tmp_path / "own.txt"), "--spec", str(tmp_path / "spec.toml")),
        *("--data", str(tmp_path / "later.csv")),
        *("--bundles", str(tmp_path / "bundles"), "--files", str(tmp_path / "files")),
    )
    folder = next(path for path in (tmp_path / "bundles" / "credit").iterdir() if path.is_dir())
    run("server", "activate", folder.name[:12], "--config", str(config))
    run("server", "load", str(tmp_path / "files" / "credit.features.parquet"), "--config", str(config))
    with demo.serving(tmp_path / "log", **environment) as address, Client(address) as client:
        decisions = [
            client.score_credit("AT", customer, Amount(Decimal(100), "EUR"))
            for customer in later["Kundennummer"][:SCORED]
        ]
        evidence = [client.get_evidence(one.record_ref.decision_id, "Test: margins") for one in decisions]
        replays = [client.replay_decision(one.record_ref.decision_id, "Test: replay") for one in decisions]

    assert "the model was fitted elsewhere" in " ".join(printed.split())
    margins = np.asarray(booster.predict(model_frame(later[:SCORED]), raw_score=True, num_threads=1))
    assert len(set(margins)) > SCORED // 2
    assert [one.record.numbers.margin for one in evidence] == margins.tolist()
    assert {result.WhichOneof("verdict") for replay in replays for result in replay.results} == {"match"}
    bundle = read_bundle(folder)
    assert bundle.schema.features[1].levels == tuple(sorted(SECTORS))
    assert lightgbm.Booster(model_file=str(folder / "model.txt")).model_to_string() == lightgbm.Booster(
        model_file=str(tmp_path / "own.txt")
    ).model_to_string().replace("[num_threads: 1]", "[num_threads: 0]")
    assert {"metrics.json", "card.md", "report.html"} <= {path.name for path in folder.iterdir()}
    assert "possibly on these rows" in (folder / "report.html").read_text()
