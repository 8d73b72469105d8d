"""A run that `score` wrote has the outcomes of the training snapshot of the same day, and needs the rules of its bundle."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.training.conftest import Trained
from training.__main__ import app
from training.errors import SpecInvalid
from training.scoring.scoring_run import RunOptions, score_transaction_log
from training.sources.snapshots import read_log_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest

CUT = dt.date(2025, 10, 1)


@pytest.fixture(scope="module")
def results(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Score the log as of the test snapshot; return a function of (spec file, bundles) that runs the command."""
    run, made = tmp_path_factory.mktemp("scored") / "october.run.parquet", trained.made
    options = RunOptions(spec_sha256=spec_digest(made.spec))
    score_transaction_log(read_spec(made.spec), trained.churn, SourcePaths(made.folder), CUT, run, options)

    def invoke(spec: Path = made.spec, bundles: Path = made.folder / "bundles") -> dict[str, Any]:
        done = CliRunner().invoke(app, ["results", str(spec), str(run), "--json", "--bundles", str(bundles)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return invoke


def test_the_outcomes_of_a_run_are_those_of_the_snapshot_of_its_day(
    trained: Trained, results: Callable[..., dict[str, Any]]
) -> None:
    samples, _ = read_log_samples(read_spec(trained.made.spec), SourcePaths(trained.made.folder), 1)
    snapshot = samples.part("HOLD_OUT")

    (run,) = results()["runs"]

    assert set(snapshot["period"]) == {CUT.isoformat()}
    for market in run["markets"]:
        rows = snapshot if market["market"] == "all" else snapshot[snapshot["market"] == market["market"]]
        assert market["total"]["predictions"] == len(rows) > 50
        assert market["total"]["churned"] == rows["label"].sum() > 5
    assert [market["market"] for market in run["markets"]] == ["all", "AT", "DE"]


def test_a_spec_with_other_rules_than_the_bundle_is_refused(
    trained: Trained, results: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    changed = trained.made.folder / "changed.toml"
    text = trained.made.spec.read_text(encoding="utf-8")
    changed.write_text(text.replace("horizon_gaps = 4.0", "horizon_gaps = 6.0"), encoding="utf-8")

    with pytest.raises(SpecInvalid, match=r"snapshots\.horizon_gaps: 4\.0 in the bundle, 6\.0 now"):
        results(changed)
    cautions = results(changed, tmp_path)["cautions"]

    assert any("lacks the bundle" in text and "only the family, horizon, features" in text for text in cautions)
    assert not any("lacks the bundle" in text for text in results()["cautions"])
