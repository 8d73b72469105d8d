"""Results of hand-made runs equal what a person counts: who left, expected against observed, and the effect."""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from tests.training.results.run_files import AS_OF, SPEC, Customer, HandMadeRun, find_name, write_lines, write_run
from training.__main__ import app
from training.errors import DataInvalid, SpecInvalid

FREE = {name: find_name(name, held_out=False) for name in "ABCDEFGHIJKLMN"}
HELD = {name: find_name(name, held_out=True) for name in ("KEPT", "GONE")}
SUCCESSOR = "SUCCESSOR"
# Every class of customer, and whether it left: None where the outcome is no churn and no purchase.
LEFT = {
    FREE["A"]: False,  # bought on the last day of the horizon
    FREE["B"]: True,  # bought on the day after
    FREE["C"]: False,  # bought on the as-of day
    FREE["D"]: True,  # returned only
    FREE["E"]: True,  # has earlier lines only
    FREE["F"]: False,  # suppressed, bought
    FREE["G"]: True,  # key account, left
    FREE["H"]: True,  # bought and returned the whole basket
    FREE["I"]: None,  # closed within the horizon
    FREE["K"]: True,  # received a free item only
    FREE["L"]: None,  # continued under another number
    FREE["M"]: True,  # does not occur in the log
    HELD["KEPT"]: False,
    HELD["GONE"]: True,
}
PDS = {name: 0.05 + 0.06 * number for number, name in enumerate(LEFT)}
ELIGIBLE_OTHERS = [FREE[name] for name in "ABCDEHKM"]
WITH_TABLES = """
[aliases]
path = "moved.csv"

[status]
path = "status.csv"
"""


def log_lines() -> list[tuple[str, str, float]]:
    """Return the lines of the log: every customer but M bought before the run."""
    before = [(name, "2025-02-17", 30.0) for name in LEFT if name != FREE["M"]]
    return [
        (FREE["A"], "2025-01-20", 30.0),  # the log reaches back to before the scope of the run
        *before,
        (FREE["A"], "2025-03-12 23:59:59", 10.0),
        (FREE["B"], "2025-03-13 00:00:00", 10.0),
        (FREE["C"], "2025-03-03 00:00:00", 10.0),
        (FREE["D"], "2025-03-05", -5.0),
        (FREE["F"], "2025-03-06", 10.0),
        (FREE["K"], "2025-03-07", 0.0),
        (SUCCESSOR, "2025-03-07", 10.0),
        (HELD["KEPT"], "2025-03-10", 10.0),
    ]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a spec, a log and a run."""

    path: Path
    run: Path

    def results(self, *options: str, spec: str = "spec.toml") -> dict[str, Any]:
        """Run the command with --json; return the document."""
        words = ["results", str(self.path / spec), str(self.run), "--json", "--threads", "1", *options]
        done = CliRunner().invoke(app, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def customers() -> list[Customer]:
    """Return the customers of the run."""
    return [
        Customer(
            name,
            PDS[name],
            suppressions=("DO_NOT_CONTACT",) if name == FREE["F"] else (),
            is_key_account=name == FREE["G"],
        )
        for name in LEFT
    ] + [Customer(FREE["N"], None, status="NOT_ENOUGH_HISTORY")]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write the spec, the log, the tables and the run of the hand-counted example."""
    (tmp_path / "keys.csv").write_text(f"market,customer_id\nDE,{FREE['G']}\n", encoding="utf-8")
    (tmp_path / "moved.csv").write_text(f"customer_id,successor\n{FREE['L']},{SUCCESSOR}\n", encoding="utf-8")
    status = f"customer_id,status,since\n{FREE['I']},CLOSED,2025-03-08\n"
    (tmp_path / "status.csv").write_text(status, encoding="utf-8")
    spec = SPEC.replace('name = "spring"', 'name = "spring"\nkey_accounts = "keys.csv"') + WITH_TABLES
    (tmp_path / "spec.toml").write_text(spec, encoding="utf-8")
    path = write_lines(tmp_path / "log.csv", log_lines())
    # H bought a basket and sent it back: two lines of one basket.
    text = (
        path.read_text(encoding="utf-8")
        + f"DE,{FREE['H']},2025-03-06,20.00,back\nDE,{FREE['H']},2025-03-08,-20.00,back\n"
    )
    path.write_text(text, encoding="utf-8")
    digest = hashlib.sha256((tmp_path / "keys.csv").read_bytes()).hexdigest()
    run = write_run(tmp_path / "march.run.parquet", customers(), HandMadeRun(manifest={"key_accounts_sha256": digest}))
    return Folder(tmp_path, run)


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Return Wilson's interval, from the roots of its quadratic equation."""
    z = norm.ppf(0.975)
    p, q = hits / rows, z * z / rows
    half = (q * q + 4 * q * p * (1 - p)) ** 0.5
    return (2 * p + q - half) / (2 + 2 * q), (2 * p + q + half) / (2 + 2 * q)


def test_every_class_of_customer_is_counted_as_a_person_counts_it(folder: Folder) -> None:
    document = folder.results()

    (run,) = document["runs"]
    (market,) = run["markets"]
    known = {name: left for name, left in LEFT.items() if left is not None}
    assert run["left_out"] == {"ENDED": 1, "MOVED": 1, "NOT_ENOUGH_HISTORY": 1}
    assert (market["total"]["predictions"], market["total"]["churned"]) == (len(known), sum(known.values())) == (12, 8)
    assert market["total"]["mean_pd"] == pytest.approx(sum(PDS[name] for name in known) / 12)
    observed = market["total"]["observed"]
    assert (observed["low"], observed["high"]) == pytest.approx(wilson(8, 12))
    assert market["auc"]["estimate"] == pytest.approx(
        roc_auc_score(list(known.values()), [PDS[name] for name in known])
    )
    # The riskiest tenth are 1.2 of the 12 customers: the riskiest one left, the next one stayed.
    assert market["lift"] == pytest.approx((1 / 1.2) / (8 / 12))
    assert market["spend"]["lost"] == 8 * 10_000
    assert market["spend"]["at_risk"] == sum(round(PDS[name] * 10_000) for name in known)
    assert any("1 of 13 customers do not occur in the log" in text for text in document["cautions"])


def test_bands_have_the_customers_whose_probability_is_within_their_bounds(folder: Folder) -> None:
    (run,) = folder.results()["runs"]

    found = {band["name"]: (band["predictions"], band["churned"]) for band in run["markets"][0]["bands"]}
    wanted = {}
    for name, low, high in (("LOW", 0.0, 0.1), ("MEDIUM", 0.1, 0.25), ("HIGH", 0.25, 0.5), ("CRITICAL", 0.5, 1.0)):
        inside = [left for key, left in LEFT.items() if left is not None and low < PDS[key] <= high]
        wanted[name] = (len(inside), sum(inside))
    assert found == wanted


def test_the_effect_compares_the_hold_out_group_with_the_other_eligible_customers(folder: Folder) -> None:
    """The suppressed customer F and the key account G are in neither group."""
    document = folder.results()

    effect = document["campaigns"][0]["effects"][0]
    left = sum(bool(LEFT[name]) for name in ELIGIBLE_OTHERS)
    assert (effect["hold_out"]["predictions"], effect["hold_out"]["churned"]) == (2, 1)
    assert (effect["others"]["predictions"], effect["others"]["churned"]) == (8, left) == (8, 6)
    (low_1, high_1), (low_2, high_2) = wilson(1, 2), wilson(6, 8)
    assert effect["effect"]["value"] == pytest.approx(0.5 - 0.75)
    assert effect["effect"]["low"] == pytest.approx(-0.25 - ((0.5 - low_1) ** 2 + (high_2 - 0.75) ** 2) ** 0.5)
    assert effect["effect"]["high"] == pytest.approx(-0.25 + ((high_1 - 0.5) ** 2 + (0.75 - low_2) ** 2) ** 0.5)
    mean = sum(PDS[name] for name in (*ELIGIBLE_OTHERS, *HELD.values())) / 10
    assert effect["detectable"] == pytest.approx(2.8 * (mean * (1 - mean) * (1 / 2 + 1 / 8)) ** 0.5)
    assert effect["is_too_small"]
    assert any("The groups are too small for a verdict" in text for text in document["statement"])


def test_contacts_are_counted_within_the_horizon_and_give_the_effect_per_contact(folder: Folder) -> None:
    contacts = folder.path / "contacts.csv"
    rows = [(FREE["A"], "2025-03-04"), (FREE["B"], "2025-03-12"), (FREE["C"], "2025-03-13"), (FREE["D"], "2025-03-03")]
    rows += [("STRANGER", "2025-03-04")]
    text = "\n".join(["market,customer_id,day", *(f"DE,{name},{day}" for name, day in rows)])
    contacts.write_text(text, encoding="utf-8")

    document = folder.results("--contacted", str(contacts))

    effect = document["campaigns"][0]["effects"][0]
    assert (effect["hold_out"]["contacted"], effect["others"]["contacted"]) == (0, 3)
    assert effect["per_contact"]["value"] == pytest.approx(effect["effect"]["value"] / (3 / 8))
    assert any("count nowhere: 2" in text for text in document["cautions"])


def test_contacts_of_another_campaign_do_not_count(folder: Folder) -> None:
    contacts = folder.path / "contacts.csv"
    rows = [(FREE["A"], "spring"), (FREE["B"], "summer"), (FREE["C"], "")]
    text = "".join(f"DE,{name},{campaign}\n" for name, campaign in rows)
    contacts.write_text(f"market,customer_id,campaign\n{text}", encoding="utf-8")

    document = folder.results("--contacted", str(contacts))

    assert document["campaigns"][0]["effects"][0]["others"]["contacted"] == 2
    assert any("count nowhere: 1" in text for text in document["cautions"])


def test_a_file_without_contacts_means_that_nobody_was_contacted(folder: Folder) -> None:
    contacts = folder.path / "contacts.csv"
    contacts.write_text("market,customer_id,day\n", encoding="utf-8")

    effect = folder.results("--contacted", str(contacts))["campaigns"][0]["effects"][0]

    assert (effect["hold_out"]["contacted"], effect["others"]["contacted"], effect["per_contact"]) == (0, 0, None)


def test_a_contact_without_a_day_among_others_is_an_error(folder: Folder) -> None:
    contacts = folder.path / "contacts.csv"
    contacts.write_text(f"market,customer_id,day\nDE,{FREE['A']},2025-03-04\nDE,{FREE['B']},\n", encoding="utf-8")

    with pytest.raises(DataInvalid, match="every row must have a market, a customer_id and a day"):
        folder.results("--contacted", str(contacts))


def test_contacts_of_the_hold_out_group_are_named(folder: Folder) -> None:
    contacts = folder.path / "contacts.csv"
    contacts.write_text(f"market,customer_id\nDE,{HELD['GONE']}\nDE,{FREE['A']}\n", encoding="utf-8")

    cautions = folder.results("--contacted", str(contacts))["cautions"]

    assert any("the hold-out group was contacted too (1 of 2 predictions)" in text for text in cautions)


def test_no_customer_is_named_in_the_page_the_document_or_the_terminal(folder: Folder) -> None:
    page = folder.path / "page.html"

    document = json.dumps(folder.results("--html", str(page)))
    printed = CliRunner().invoke(app, ["results", str(folder.path / "spec.toml"), str(folder.run)]).stdout

    written = page.read_text(encoding="utf-8")
    assert "GONE" in HELD["GONE"]
    for name in (*LEFT, SUCCESSOR):
        assert f'"{name}"' not in document
        for text in (written, printed):
            assert f"{name} " not in text
            assert f"{name}<" not in text
    assert {path.name for path in folder.path.iterdir()} == {
        *("spec.toml", "log.csv", "keys.csv", "moved.csv", "status.csv", "march.run.parquet", "page.html")
    }


def test_a_log_of_the_new_lines_only_gives_the_same_outcomes(folder: Folder, tmp_path: Path) -> None:
    lines = (folder.path / "log.csv").read_text(encoding="utf-8").splitlines()
    new = [line for line in lines if line.startswith("market") or line.split(",")[2] >= "2025-03-03"]
    (tmp_path / "new.csv").write_text("\n".join(new) + "\n", encoding="utf-8")

    whole, part = folder.results(), folder.results("--data", str(tmp_path / "new.csv"))

    assert part["runs"] == whole["runs"]
    assert part["campaigns"] == whole["campaigns"]


@pytest.mark.parametrize("end", ["2025-03-11", "2025-03-02"])
def test_a_run_whose_horizon_the_log_does_not_cover_has_no_results(folder: Folder, end: str) -> None:
    lines = (folder.path / "log.csv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.startswith("market") or line.split(",")[2][:10] <= end]
    (folder.path / "log.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")

    with pytest.raises(
        DataInvalid, match="no run has a known outcome:\nLeft out: run 2025-03-03, market DE, 14 predictions"
    ):
        folder.results()


def test_a_log_that_begins_after_the_run_has_no_results(folder: Folder) -> None:
    lines = (folder.path / "log.csv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.startswith("market") or line.split(",")[2] >= "2025-03-05"]
    (folder.path / "log.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")

    with pytest.raises(DataInvalid, match=r"the lines begin 2025-03-05, after the horizon begins \(2025-03-03\)"):
        folder.results()


def test_a_market_that_is_not_covered_is_left_out_counted_and_named(folder: Folder) -> None:
    others = [Customer(f"AT{number}", 0.3, market="AT") for number in range(3)]
    spec = (folder.path / "spec.toml").read_text(encoding="utf-8").replace('key_accounts = "keys.csv"', "")
    (folder.path / "spec.toml").write_text(spec, encoding="utf-8")
    run = write_run(folder.path / "two.run.parquet", [*(c for c in customers() if not c.is_key_account), *others])
    with (folder.path / "log.csv").open("a", encoding="utf-8") as log:
        log.writelines(f"AT,AT{number},2025-03-0{3 + number},5.00,at{number}\n" for number in range(3))

    document = Folder(folder.path, run).results()

    (found,) = document["runs"]
    assert [market["market"] for market in found["markets"]] == ["all"]
    assert found["markets"][0]["total"]["predictions"] == 11
    assert found["unmeasured"] == [
        {
            "market": "AT",
            "customers": 3,
            "problem": "not matured: the lines end 2025-03-05, and the horizon ends 2025-03-12",
        }
    ]
    assert any(text.startswith("Left out: run 2025-03-03, market AT, 3 predictions") for text in document["statement"])


def test_a_log_without_the_customers_of_the_run_is_refused(folder: Folder) -> None:
    text = (folder.path / "log.csv").read_text(encoding="utf-8")
    for name in LEFT:
        text = text.replace(f",{name},", f",0{name},")
    (folder.path / "log.csv").write_text(text, encoding="utf-8")

    with pytest.raises(DataInvalid, match="13 of 13 customers do not occur in the log, so it is another log"):
        folder.results()


def test_a_small_market_whose_customers_all_left_does_not_stop_the_results_of_a_log_that_begins_with_the_run(
    folder: Folder,
) -> None:
    """Such a log has no line of a customer who left."""
    text = (folder.path / "log.csv").read_text(encoding="utf-8")
    head, *lines = text.splitlines(keepends=True)
    kept = [line for line in lines if line.split(",")[2] >= "2025-03-03"]
    for name in LEFT:
        kept = [line.replace(f",{name},", f",0{name},") for line in kept]
    (folder.path / "log.csv").write_text(head + "".join(kept), encoding="utf-8")

    document = folder.results()

    (found,) = document["runs"]
    assert found["markets"][0]["total"]["predictions"] == 12  # one of 13 was closed within the horizon


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('family = "churn"', 'family = "loyalty"', "family: churn in the run, loyalty in the spec"),
        ("horizon_days = 10", "horizon_days = 20", "snapshots.horizon_days: 10 in the run, 20 in the spec"),
        ('name = "recency_days"', 'name = "spend_90"', "features: recency_days in the run, spend_90 in the spec"),
        ('currency = "EUR"', 'currency = "CHF"', "log.currency: .*EUR.* in the run, .*CHF.* in the spec"),
        ('market = "market"\n', "", "markets: DE in the run, FR in the spec"),
        ("active_days = 30", 'active_days = 30\noutcome = "decline"', 'snapshots.outcome = "churn"'),
    ],
)
def test_a_spec_of_other_runs_is_refused(folder: Folder, old: str, new: str, problem: str) -> None:
    spec = (folder.path / "spec.toml").read_text(encoding="utf-8")
    assert old in spec
    changed = spec.replace(old, new)
    if "FR" in problem:
        changed = changed.replace('path = "log.csv"', 'path = "log.csv"\nmarket = "FR"')
    (folder.path / "other.toml").write_text(changed, encoding="utf-8")

    with pytest.raises(SpecInvalid, match=problem):
        folder.results(spec="other.toml")


def test_key_accounts_of_another_time_must_be_named(folder: Folder) -> None:
    now = folder.path / "keys.csv"
    then = now.rename(folder.path / "keys-of-march.csv")
    now.write_text(f"market,customer_id\nDE,{FREE['A']}\n", encoding="utf-8")

    with pytest.raises(
        SpecInvalid, match=r"march\.run\.parquet: the file of key accounts .* has changed .*--key-accounts"
    ):
        folder.results()
    document = folder.results("--key-accounts", str(then))

    assert document["campaigns"][0]["effects"][0]["others"]["predictions"] == 8


def test_a_page_that_cannot_be_written_is_an_error_without_a_traceback(folder: Folder) -> None:
    with pytest.raises(
        SpecInvalid, match=r"--html .*none/page\.html: cannot be written: No such file or directory; name a file"
    ):
        folder.results("--html", str(folder.path / "none" / "page.html"))


def test_two_runs_of_the_same_day_and_market_are_refused(folder: Folder) -> None:
    again = folder.path / "again.run.parquet"
    again.write_bytes(folder.run.read_bytes())

    with pytest.raises(
        DataInvalid, match="both are runs of 2025-03-03 for market DE; name only the one that was in use"
    ):
        folder.results(str(again))


def test_runs_with_other_hold_out_groups_are_never_pooled(tmp_path: Path) -> None:
    """Another share or name is another group: each has its own effect, and the month of both has none."""
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    found = [Customer(f"C{number}", 0.2) for number in range(60)]
    days = [AS_OF + dt.timedelta(days=days) for days in (0, 1, 2)]
    write_lines(tmp_path / "log.csv", [("C1", "2025-03-03", 5.0), ("C1", "2025-03-15", 5.0)])
    kinds = [HandMadeRun(days[0]), HandMadeRun(days[1], share=0.5), HandMadeRun(days[2], campaign="summer")]
    first, *others = [write_run(tmp_path / f"{made.as_of}.parquet", found, made) for made in kinds]

    document = Folder(tmp_path, first).results(*map(str, others))

    assert [(one["name"], one["hold_out_share"], one["runs"]) for one in document["campaigns"]] == [
        ("spring", 0.2, 1),
        ("spring", 0.5, 1),
        ("summer", 0.2, 1),
    ]
    (month,) = document["months"]
    assert (month["runs"], month["total"]["predictions"], month["effect"]) == (3, 180, None)


def test_the_horizon_of_a_customer_follows_from_the_gaps_as_in_training(tmp_path: Path) -> None:
    """With a horizon of 2 gaps, from 3 to 10 days: customers with gaps of 2.2 days have 5 days, and 30 have 10 days."""
    spec = SPEC.replace("horizon_days = 10", "horizon_days = 10\nhorizon_gaps = 2.0\nhorizon_min_days = 3")
    gaps = {"SHORT": 2.2, "LONG": 30.0, "TINY": 1.0}
    day = {"SHORT": "2025-03-08", "LONG": "2025-03-08", "TINY": "2025-03-05"}
    found = [Customer(name, 0.2, feature=gap) for name, gap in gaps.items()]
    lines = [
        *((name, f"{on} 12:00:00", 5.0) for name, on in day.items()),
        ("X", "2025-03-03", 5.0),
        ("X", "2025-03-13", 5.0),
    ]
    write_lines(tmp_path / "log.csv", lines)
    (tmp_path / "spec.toml").write_text(spec.replace("recency_days", "gap_median_days"), encoding="utf-8")
    made = HandMadeRun(manifest={"feature_names": ["gap_median_days"]})

    document = Folder(tmp_path, write_run(tmp_path / "run.parquet", found, made)).results()

    assert document["runs"][0]["markets"][0]["total"]["churned"] == 1  # SHORT: the horizon ended on 7 March
    (tmp_path / "spec.toml").write_text(spec, encoding="utf-8")
    with pytest.raises(SpecInvalid, match="the horizon of a customer depends on gap_median_days"):
        Folder(tmp_path, write_run(tmp_path / "run.parquet", found)).results()
