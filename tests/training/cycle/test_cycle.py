"""A cycle proposes a candidate once, however often it is killed, and never a candidate that is worse than the serving bundle."""

import html
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from grounds_record.activations import CHANGE_PROPOSED
from models.bundle import read_bundle
from models.catalog import read_active
from tests.conftest import ROOT, key_environment, run
from tests.small import POLICY, SPEC, SmallFamily, made_customers, write_small_family
from tests.training.transaction_logs import write_log
from training.commands.cycle import perform_cycle
from training.cycle.journal import only_cycle
from training.errors import CycleRunning, DataInvalid, SpecInvalid
from training.sources.table import read_table_samples
from training.spec import read_spec

DONE, NOT_PROPOSED, DATA_REFUSED = 0, 3, 4
FIRST, SECOND = "2026-11-02", "2026-11-09"
STEPS = ("data", "fit", "compare", "sign", "features", "activate")
FLOW = """
spec = "credit.toml"
bundles = "bundles"
cycles = "cycles"

[sign]
key = "bundle.key"

[server]
config = "grounds.toml"
reason = "weekly, {on}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a flow with its spec, data and server, which requires a second person; return the folder."""
    return write_flow(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def first_cycles(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Perform the first cycle without and with `four_eyes`; return both folders, which `after_first_cycle` copies."""
    folders = {four_eyes: tmp_path_factory.mktemp("first") for four_eyes in (False, True)}
    for four_eyes, path in folders.items():
        with pytest.MonkeyPatch.context() as environment:
            write_flow(path, environment)
            write_server(path, four_eyes=four_eyes)
            assert cycle(path) == DONE
    return folders


def after_first_cycle(first_cycles: dict[bool, Path], folder: Path, *, four_eyes: bool) -> None:
    """Copy the files of the first cycle to a folder, whose server is configured in the same way."""
    shutil.copytree(first_cycles[four_eyes], folder, dirs_exist_ok=True)
    write_server(folder, four_eyes=four_eyes)


def write_flow(folder: Path, environment: pytest.MonkeyPatch) -> Path:
    """Write a flow with its spec, data and server, which requires a second person; return the folder."""
    for name, value in key_environment(folder).items():
        environment.setenv(name, value)
    made_customers().to_csv(folder / "customers.csv", index=False)
    (folder / "credit.toml").write_text(SPEC.replace("as_of = 2026-01-01", 'as_of = "day"'))
    (folder / "policy.toml").write_text(POLICY)
    (folder / "flow.toml").write_text(FLOW)
    write_server(folder, four_eyes=True)
    return folder


def write_server(folder: Path, *, four_eyes: bool) -> None:
    """Write the configuration of the server."""
    lines = [
        f'bundles = "{folder / "bundles"}"',
        f'policy = "{folder / "policy.toml"}"',
        f'database = "sqlite:///{folder / "grounds.db"}"',
        f"four_eyes = {json.dumps(four_eyes)}",
    ]
    (folder / "grounds.toml").write_text("\n".join(lines) + "\n")


def cycle(folder: Path, on: str = FIRST) -> int:
    """Perform a cycle in this process; return its exit status."""
    return perform_cycle(folder / "flow.toml", pd.Timestamp(on).date(), 1)


def journal(folder: Path, on: str = FIRST) -> dict[str, Any]:
    """Return the content of the journal of a cycle."""
    content: dict[str, Any] = json.loads((folder / "cycles" / on / "cycle.json").read_bytes())
    return content


def page(folder: Path, on: str = FIRST) -> str:
    """Return the first sentence below the title of the page."""
    found = re.search(r'<p class="lead">(.*?)</p>', (folder / "cycles" / on / "digest.html").read_text(), re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def bundles(folder: Path) -> list[str]:
    """Return the ids of all bundles."""
    return sorted(path.name for path in (folder / "bundles" / "credit").iterdir() if path.is_dir())


def proposals(folder: Path) -> int:
    """Return the number of recorded proposals."""
    with sqlite3.connect(folder / "grounds.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM records WHERE kind = ?", (CHANGE_PROPOSED,)).fetchone()
    return int(count)


def start(folder: Path) -> "subprocess.Popen[str]":
    """Start the command in a process of its own."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "training",
        "cycle",
        str(folder / "flow.toml"),
        "--on",
        FIRST,
        "--threads",
        "1",
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )


@pytest.mark.timeout(600)
def test_a_cycle_that_is_killed_at_every_step_gives_one_bundle_and_one_proposal(folder: Path) -> None:
    for step in STEPS:
        with start(folder) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(f"· {step}: "):
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL, step

    assert cycle(folder) == DONE
    assert len(bundles(folder)) == 1
    assert proposals(folder) == 1
    assert journal(folder)["result"] == "DONE"
    assert set(journal(folder)["steps"]) == {*STEPS}


@pytest.mark.timeout(600)
def test_a_step_that_was_not_recorded_runs_again_with_the_same_result(folder: Path) -> None:
    """A process may die after a step and before its record; then the step runs twice."""
    assert cycle(folder) == DONE
    first, name = journal(folder), bundles(folder)
    for number, step in enumerate(STEPS):
        shortened = {**first, "steps": {each: first["steps"][each] for each in STEPS[:number]}}
        (folder / "cycles" / FIRST / "cycle.json").write_text(json.dumps(shortened))

        assert cycle(folder) == DONE, step
        assert bundles(folder) == name
        assert proposals(folder) == 1
        found = journal(folder)["steps"]
        assert list(found) == list(first["steps"])
        assert all(found[each] == first["steps"][each] for each in STEPS if each != "features")
        if step == "features":
            assert "0 added, 1,500 already loaded" in found["features"]["said"]


@pytest.mark.timeout(600)
def test_a_worse_candidate_is_not_proposed_and_the_page_says_why_in_its_first_sentence(
    folder: Path, first_cycles: dict[bool, Path]
) -> None:
    after_first_cycle(first_cycles, folder, four_eyes=False)
    serving = read_active(folder / "bundles", "credit")
    corrupt_development_labels(folder)

    assert cycle(folder, SECOND) == NOT_PROPOSED

    assert read_active(folder / "bundles", "credit") == serving
    assert "activate" not in journal(folder, SECOND)["steps"]
    assert re.match(
        rf"Cycle of {SECOND}\. Not proposed: the candidate('s probabilities are| ranks) worse than (those of )?the serving "
        rf"bundle {serving['DE'][:12]} \(",
        page(folder, SECOND),
    )
    (comparison,) = journal(folder, SECOND)["summary"]["comparisons"]
    assert comparison["auc_lead"][2] < 0 or comparison["log_loss_rise"][1] > 0
    check_against_sklearn(folder, comparison, serving["DE"])


@pytest.mark.timeout(600)
def test_a_bundle_that_was_approved_before_its_proposal_was_recorded_is_not_proposed_again(
    folder: Path, first_cycles: dict[bool, Path]
) -> None:
    after_first_cycle(first_cycles, folder, four_eyes=True)
    approve(folder)
    steps = journal(folder)["steps"]
    del steps["activate"]
    (folder / "cycles" / FIRST / "cycle.json").write_text(json.dumps({**journal(folder), "steps": steps}))

    assert cycle(folder) == DONE
    assert proposals(folder) == 1
    assert "serves DE, FR already" in journal(folder)["steps"]["activate"]["said"]


@pytest.mark.timeout(600)
def test_data_that_change_between_the_check_and_the_fit_are_checked_again(
    folder: Path, first_cycles: dict[bool, Path]
) -> None:
    after_first_cycle(first_cycles, folder, four_eyes=False)
    made_customers(1600).to_csv(folder / "customers.csv", index=False)
    assert cycle(folder, SECOND) == DONE
    begun = journal(folder, SECOND)
    (folder / "cycles" / SECOND / "cycle.json").write_text(
        json.dumps({**begun, "steps": {"data": begun["steps"]["data"]}})  # as if killed during the fit
    )
    table = pd.read_csv(folder / "customers.csv")
    table["turnover"] *= 1000
    table.to_csv(folder / "customers.csv", index=False)

    assert cycle(folder, SECOND) == DATA_REFUSED
    assert "turnover" in page(folder, SECOND)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("four_eyes", [False, True])
def test_the_bundles_of_old_cycles_are_retired_once(folder: Path, *, four_eyes: bool) -> None:
    write_server(folder, four_eyes=four_eyes)
    (folder / "flow.toml").write_text(FLOW + "keep = 1\n")
    made = []
    for number, day in enumerate(("2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23")):
        made_customers(1500 + 20 * number).to_csv(folder / "customers.csv", index=False)
        assert cycle(folder, day) == DONE
        made.append(journal(folder, day)["steps"]["fit"]["bundle_id"])
        if four_eyes and number == 0:
            approve(folder)

    serving = set(read_active(folder / "bundles", "credit").values())
    asked = [
        journal(folder, day)["steps"]["retire"]["bundle_ids"] for day in ("2026-11-09", "2026-11-16", "2026-11-23")
    ]
    # With four eyes, the first bundle still serves, and the others wait for their approval.
    assert asked == ([[], [made[1]], [made[2]]] if four_eyes else [[made[0]], [made[1]], [made[2]]])
    assert serving == ({made[0]} if four_eyes else {made[3]})


def corrupt_development_labels(folder: Path) -> None:
    """Replace the labels of the rows outside the hold-out by others of the same frequency, so that a model learns little."""
    _, samples = read_table_samples(read_spec(folder / "credit.toml"), folder / "customers.csv")
    held_out = set(samples.part("HOLD_OUT")["customer_id"])
    table = pd.read_csv(folder / "customers.csv")
    others = ~table["number"].isin(held_out) & (np.random.default_rng(1).random(len(table)) < 0.8)
    table.loc[others, "bad"] = np.random.default_rng(2).permutation(table.loc[others, "bad"])
    table.to_csv(folder / "customers.csv", index=False)


def check_against_sklearn(folder: Path, comparison: dict[str, Any], champion: str) -> None:
    """Compute both AUCs and the difference of the log losses with LightGBM's text models and scikit-learn."""
    import lightgbm
    from sklearn.metrics import log_loss, roc_auc_score

    _, samples = read_table_samples(read_spec(folder / "credit.toml"), folder / "customers.csv")
    rows = samples.part("HOLD_OUT")
    losses = []
    (candidate,) = set(bundles(folder)) - {champion}
    for position, name in enumerate((champion, candidate)):
        path = folder / "bundles" / "credit" / name
        card = read_bundle(path).scorecard
        booster = lightgbm.Booster(model_str=(path / "model.txt").read_text())
        log_odds = card.slope * np.asarray(booster.predict(samples.features(rows), raw_score=True)) + card.intercept
        assert comparison["auc"][position] == pytest.approx(roc_auc_score(rows["label"], log_odds), abs=1e-12)
        losses.append(log_loss(rows["label"], 1 / (1 + np.exp(-log_odds))))
    assert comparison["log_loss_rise"][0] == pytest.approx(losses[1] - losses[0], abs=1e-9)


@pytest.mark.timeout(600)
def test_data_that_differ_from_those_of_the_serving_bundle_stop_the_cycle_before_the_fit(
    folder: Path, first_cycles: dict[bool, Path]
) -> None:
    after_first_cycle(first_cycles, folder, four_eyes=False)
    table = pd.read_csv(folder / "customers.csv")
    table["years"] = np.where(
        np.arange(len(table)) % 2, np.nan, table["years"]
    )  # a source that lost half of its values
    table["turnover"] *= 1000  # a unit that changed
    table.to_csv(folder / "customers.csv", index=False)

    assert cycle(folder, SECOND) == DATA_REFUSED

    failed = {
        (each["subject"], each["figure"])
        for each in journal(folder, SECOND)["summary"]["checks"]
        if not each["is_passed"]
    }
    assert failed == {
        ("years", "the change of the share of missing values"),
        ("turnover", "the population stability index"),
        ("turnover", "the share of values outside the earlier range"),
    }
    assert page(folder, SECOND).startswith(f"Cycle of {SECOND}. Nothing was fitted: the data differ too much")
    assert len(bundles(folder)) == 1
    # The page says to raise a limit in [checks] if the change is real, so a changed flow file must be accepted here.
    (folder / "flow.toml").write_text(FLOW + "\n[checks]\npsi_max = 0.24\n")
    assert cycle(folder, SECOND) == DATA_REFUSED

    made_customers(1600).to_csv(folder / "customers.csv", index=False)
    assert cycle(folder, SECOND) == DONE, "after a correction, the same cycle continues"
    assert len(bundles(folder)) == 2
    assert set(read_active(folder / "bundles", "credit").values()) < set(bundles(folder))
    assert "1,600 added" in journal(folder, SECOND)["steps"]["features"]["said"]


def test_two_cycles_do_not_run_at_the_same_time(folder: Path) -> None:
    with only_cycle(folder / "cycles"), pytest.raises(CycleRunning, match="another cycle is running"):
        cycle(folder)


def test_a_model_that_was_fitted_with_another_spec_is_not_continued(folder: Path) -> None:
    (folder / "cycles" / FIRST).mkdir(parents=True)
    begun = {"flow_sha256": "0" * 64, "on": FIRST, "steps": {"fit": {"bundle_id": "0" * 64}}}
    (folder / "cycles" / FIRST / "cycle.json").write_text(json.dumps(begun))
    with pytest.raises(DataInvalid, match="was fitted with a different flow file or spec"):
        cycle(folder)
    (folder / "cycles" / FIRST / "cycle.json").write_text('{"flow_sha256": ')
    with pytest.raises(DataInvalid, match="is no journal of a cycle"):
        cycle(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spec = 1", "spec: "),
        (FLOW.replace("cycles =", "cycle ="), "cycle: Extra inputs"),
        (FLOW + "keep = 0", "server.keep: "),
        ("spec = ", "is not valid TOML"),
        (FLOW + "[checks]\npsi_max = -1", "checks.psi_max"),
    ],
)
def test_an_invalid_flow_file_is_refused_with_its_field(folder: Path, text: str, problem: str) -> None:
    (folder / "flow.toml").write_text(text)
    with pytest.raises(SpecInvalid, match=re.escape(problem)):
        cycle(folder)


@pytest.mark.parametrize(
    ("at", "problem"), [("today", "must be a date"), ("day", "must be left out, because the spec has a \\[table\\]")]
)
def test_the_day_of_the_scoring_run_is_checked_before_the_fit(folder: Path, at: str, problem: str) -> None:
    (folder / "flow.toml").write_text(FLOW + f'\n[score]\nat = "{at}"\n')
    with pytest.raises(SpecInvalid, match=problem):
        cycle(folder)
    assert not (folder / "bundles").exists()


def test_a_server_command_that_fails_stops_the_cycle_with_its_message_and_the_next_start_continues(
    folder: Path,
) -> None:
    (folder / "grounds.toml").write_text("unknown_setting = 1\n")
    with pytest.raises(DataInvalid, match="unknown_setting"):
        cycle(folder)
    assert journal(folder)["result"] == "STOPPED"
    assert "continues when it is started again" in page(folder)

    write_server(folder, four_eyes=False)
    assert cycle(folder) == DONE
    assert journal(folder)["result"] == "DONE"


@pytest.mark.timeout(600)
def test_a_cycle_of_a_transaction_log_scores_all_customers_as_of_a_relative_day_and_loads_the_run(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    made = write_log(tmp_path / "log")
    flow = FLOW.replace("credit.toml", str(made.spec)) + '\n[score]\nat = "month"\n'
    (folder / "flow.toml").write_text(flow)

    assert cycle(folder, "2025-11-17") == DONE
    assert "score" not in journal(folder, "2025-11-17")["steps"], "no bundle serves before the approval"
    approve(folder)
    assert cycle(folder, "2025-11-17") == DONE

    steps = journal(folder, "2025-11-17")["steps"]
    assert list(steps) == [*STEPS, "score", "load"]
    assert proposals(folder) == 1
    with sqlite3.connect(folder / "grounds.db") as connection:
        as_of = {day for (day,) in connection.execute("SELECT DISTINCT as_of FROM runs")}
    assert len(as_of) == 1
    assert "2025-11-01" in str(as_of)


def approve(folder: Path) -> None:
    """Approve the proposal as a second person."""
    with sqlite3.connect(folder / "grounds.db") as connection:
        (name,) = connection.execute("SELECT record_id FROM records WHERE kind = ?", (CHANGE_PROPOSED,)).fetchone()
    command = [sys.executable, "-m", "server", "approve", name, "--config", str(folder / "grounds.toml")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "SUDO_USER": "second"}
    )
    assert done.returncode == 0, done.stderr


def test_two_bundles_are_compared_by_a_command(small: SmallFamily, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_small_family(tmp_path / "other", SPEC.replace("max_leaves = 6", "max_leaves = 3"))
    for each in (small, other):
        shutil.copytree(each.bundle_folder, tmp_path / "bundles" / "credit" / each.bundle_folder.name)
    page_file = tmp_path / "page.html"

    run(
        *("training", "compare", str(small.spec), small.bundle_folder.name[:12], other.bundle_folder.name[:12]),
        *("--bundles", str(tmp_path / "bundles"), "--to", str(page_file)),
    )

    text = page_file.read_text()
    assert f"Against bundle {small.bundle_folder.name[:12]}" in text
    assert "difference of the AUC" in text
