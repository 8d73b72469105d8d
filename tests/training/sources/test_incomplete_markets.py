"""If the lines of a market end too early, the log is rejected, or the market is left out and the other markets are used."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from tests.training.transaction_logs import SPEC, SyntheticLog, write_log
from training.errors import DataInvalid
from training.sources.market_days import MarketDays
from training.sources.snapshots import read_log_customers, read_log_samples
from training.sources.transaction_log import SourcePaths
from training.spec import Spec, read_spec

LEAVE_OUT = '[markets]\non_problem = "leave_out"\n\n[campaign]'
AT = dt.date(2025, 11, 3)  # a Monday


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLog:
    """Write a synthetic log once; tests must not change it."""
    return write_log(tmp_path_factory.mktemp("log"), customers=240)


def spec_with(folder: Path, text: str) -> Spec:
    """Write a spec to a folder, and read the spec."""
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    return read_spec(folder / "spec.toml")


def write_lines(folder: Path, lines: pd.DataFrame) -> SourcePaths:
    """Write the lines of a log; return the paths of the sources."""
    lines.to_csv(folder / "belege.csv", index=False)
    return SourcePaths(folder, status=None)


def without_status(text: str) -> str:
    """Return the text of a spec without the section [status]."""
    return text[: text.index("[status]")] + text[text.index("[snapshots]") :]


def truncate(lines: pd.DataFrame, markets: dict[str, str]) -> pd.DataFrame:
    """Remove the lines that each market in `markets` has on or after its day; return the other lines."""
    for market, end in markets.items():
        lines = lines[(lines["Land"] != market) | (pd.to_datetime(lines["Zeit"]) < pd.Timestamp(end))]
    return lines


def weekdays_only(made: SyntheticLog) -> pd.DataFrame:
    """Return the lines that are dated Monday to Friday."""
    times = pd.to_datetime(made.lines["Zeit"])
    return made.lines[times.dt.day_of_week < 5]


@pytest.mark.parametrize("day", ["2025-11-01", "2025-11-02", "2025-11-03"], ids=["Saturday", "Sunday", "Monday"])
def test_a_log_that_ends_on_friday_can_be_scored_until_monday(day: str, made: SyntheticLog, tmp_path: Path) -> None:
    lines = truncate(weekdays_only(made), {"AT": "2025-11-01", "DE": "2025-11-01"})
    spec, sources = spec_with(tmp_path, without_status(SPEC)), write_lines(tmp_path, lines)

    assert len(read_log_customers(spec, sources, dt.date.fromisoformat(day), 1)) > 50

    with pytest.raises(DataInvalid, match=r"the log ends 2025-10-31 \d\d:\d\d; use a date up to 2025-11-03"):
        read_log_customers(spec, sources, dt.date(2025, 11, 4), 1)


def test_a_horizon_that_ends_on_a_weekend_is_complete_with_the_lines_of_friday(
    made: SyntheticLog, tmp_path: Path
) -> None:
    """The horizon of the test snapshot has 40 days and ends on Sunday, 9 November 2025."""
    lines = truncate(weekdays_only(made), {"AT": "2025-11-08", "DE": "2025-11-08"})

    samples, _ = read_log_samples(spec_with(tmp_path, without_status(SPEC)), write_lines(tmp_path, lines), 1)

    assert set(samples.part("HOLD_OUT")["market"]) == {"AT", "DE"}


def test_public_holidays_are_not_gaps() -> None:
    """Thursday, 1 May 2025 is a public holiday in Germany and a working day in Denmark."""
    days = [day.date() for day in pd.bdate_range("2025-03-03", "2025-04-30")]
    germany, denmark = (
        MarketDays(market, tuple(days), dt.datetime.combine(days[-1], dt.time())) for market in ("DE", "DK")
    )

    assert germany.silence(before=dt.date(2025, 5, 2)) == 0
    assert denmark.silence(before=dt.date(2025, 5, 2)) == 1
    assert germany.next_expected_day() == dt.date(2025, 5, 2)


def test_a_market_with_few_lines_is_expected_on_every_day() -> None:
    days = tuple(dt.date(2025, 1, 6) + dt.timedelta(days=20 * number) for number in range(8))
    market = MarketDays("ZZ", days, dt.datetime.combine(days[-1], dt.time()))

    assert market.longest_silence() == 19
    assert market.silence(before=days[-1] + dt.timedelta(days=21)) == 20


def test_all_quiet_markets_are_named_at_once_and_the_refusal_states_how_to_continue(
    made: SyntheticLog, tmp_path: Path
) -> None:
    third = made.lines[made.lines["Land"] == "DE"].assign(Land="CZ")
    lines = truncate(pd.concat([made.lines, third]), {"AT": "2025-10-20", "CZ": "2025-10-22"})
    spec, sources = spec_with(tmp_path, without_status(SPEC)), write_lines(tmp_path, lines)

    with pytest.raises(DataInvalid) as run:
        read_log_customers(spec, sources, AT, 1)
    with pytest.raises(DataInvalid) as fit:
        read_log_samples(spec, sources, 1)

    for refused in (run, fit):
        assert "market AT" in str(refused.value)
        assert "market CZ" in str(refused.value)
        assert "market DE" not in str(refused.value)
        assert 'set on_problem = "leave_out" in [markets]' in str(refused.value)


def test_a_quiet_market_is_left_out_of_the_run_and_the_others_are_scored(made: SyntheticLog, tmp_path: Path) -> None:
    sources = write_lines(tmp_path, truncate(made.lines, {"AT": "2025-10-20"}))
    spec = spec_with(tmp_path, without_status(SPEC).replace("[campaign]", LEAVE_OUT))
    printed: list[str] = []

    customers = read_log_customers(spec, sources, AT, 1, printed.append)

    assert set(customers["market"]) == {"DE"}
    assert len(printed) == 1
    assert printed[0].startswith("left out: MARKET_QUIET AT (lines end 2025-10-19): -")


def test_an_ended_market_is_left_out_of_the_snapshots_whose_labels_it_would_falsify(
    made: SyntheticLog, tmp_path: Path
) -> None:
    """The lines of AT end on 19 October, within the horizon of the test snapshot of 1 October."""
    sources = write_lines(tmp_path, truncate(made.lines, {"AT": "2025-10-20"}))
    spec = spec_with(tmp_path, without_status(SPEC).replace("[campaign]", LEAVE_OUT))

    samples, _ = read_log_samples(spec, sources, 1)

    assert set(samples.part("FIT")["market"]) == set(samples.part("CALIBRATION")["market"]) == {"AT", "DE"}
    assert set(samples.part("HOLD_OUT")["market"]) == {"DE"}
    counts = dict(samples.waterfall)
    assert counts["snapshot 2025-10-01 (HOLD_OUT): left out: MARKET_ENDED AT (lines end 2025-10-19)"] < 0
    of_test = {what: count for what, count in counts.items() if what.startswith("snapshot 2025-10-01")}
    assert sum(of_test.values()) == len(samples.part("HOLD_OUT"))


def test_a_market_that_is_too_small_is_left_out_of_the_fit_or_rejected(made: SyntheticLog, tmp_path: Path) -> None:
    small = made.lines[made.lines["Land"] == "AT"]
    few = small[small["Kunde"].isin(sorted(small["Kunde"].dropna().unique())[:4])]
    sources = write_lines(tmp_path, pd.concat([made.lines[made.lines["Land"] == "DE"], few]))
    limit = without_status(SPEC).replace("[campaign]", LEAVE_OUT.replace("\n\n", "\nrows_min = 100\n\n"))

    samples, latest = read_log_samples(spec_with(tmp_path, limit), sources, 1)

    assert set(samples.rows["market"]) == set(latest["market"]) == {"DE"}
    assert dict(samples.waterfall)["left out: MARKET_TOO_SMALL AT"] < 0
    with pytest.raises(DataInvalid, match=r"market AT: has \d+ development rows, fewer than markets\.rows_min"):
        read_log_samples(spec_with(tmp_path, limit.replace('"leave_out"', '"refuse"')), sources, 1)
