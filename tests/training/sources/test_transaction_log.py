"""The excluded lines, the features and the labels equal those that a second implementation in Python computes."""

import datetime as dt
from itertools import pairwise
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.transaction_logs import SyntheticLog, write_log
from training.errors import DataInvalid, SpecInvalid
from training.sources.snapshots import create_customers, read_log_customers, read_log_samples
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import LogSpec, SnapshotSpec, Spec, read_spec

CUT = dt.date(2025, 10, 1)
DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLog:
    """Write a synthetic log once; tests must not change it."""
    return write_log(tmp_path_factory.mktemp("log"), customers=240)


def log_of(spec: Spec) -> LogSpec:
    """Return the [log] of a spec."""
    assert spec.log is not None
    return spec.log


def snapshots_of(spec: Spec) -> SnapshotSpec:
    """Return the [snapshots] of a spec."""
    assert spec.snapshots is not None
    return spec.snapshots


def rule_counts(log: LogSpec, folder: Path) -> dict[str, int]:
    """Read the log, and return its waterfall."""
    with open_transaction_log(log, None, SourcePaths(folder), 1) as opened:
        return dict(opened.waterfall)


def without_cancelled_lines(sales: pd.DataFrame) -> pd.DataFrame:
    """Return the lines without the pairs of a purchase and a return of the same product and amount on the same day.

    This log has no quantity, so no return on a later day cancels a purchase.
    """
    open_purchases: dict[tuple[object, ...], list[int]] = {}
    cancelled: set[int] = set()
    ordered = sales.assign(returned=sales["Betrag"] < 0, day=sales["Zeit"].dt.normalize()).sort_values(
        ["Zeit", "returned", "Beleg", "Gruppe"]
    )
    for line in ordered.itertuples():
        key = (line.Land, line.Kunde, line.day, line.Artikel, abs(line.Betrag))
        same = open_purchases.setdefault(key, [])
        if line.Betrag > 0:
            same.append(line.Index)
        elif same:
            cancelled |= {same.pop(), line.Index}
    return sales.drop(index=sorted(cancelled))


def purchases(sales: pd.DataFrame) -> pd.DataFrame:
    """Return the purchases: lines with a positive amount, in baskets that were not returned completely."""
    whole = sales.groupby(["Land", "Kunde", "Beleg"])["Betrag"].transform(lambda part: round(part.sum(), 2))
    least = sales.groupby(["Land", "Kunde", "Beleg"])["Betrag"].transform("min")
    return sales[(sales["Betrag"] > 0) & ~((whole <= 0) & (least < 0))]


def test_every_excluded_line_is_counted_under_one_reason(made: SyntheticLog) -> None:
    lines = made.lines

    found = rule_counts(log_of(read_spec(made.spec)), made.folder)

    nobody = int((lines["Kunde"].isna() | (lines["Kunde"] == "0")).sum())
    assert nobody / len(lines) == pytest.approx(0.25, abs=0.01)
    assert found["lines read"] == len(lines)
    assert found["left out: NO_CUSTOMER"] == -nobody
    assert found["left out: FUTURE_DATED"] == -7
    assert found["left out: DUPLICATE"] == -11
    assert found["lines used"] == sum(n for what, n in found.items() if what.startswith(("lines read", "left out")))
    assert found["lines used"] == len(made.sales)
    assert found["of these returns and cancellations (amount below 0)"] == int((made.sales["Betrag"] < 0).sum())


def test_duplicates_are_used_if_the_spec_keeps_them(made: SyntheticLog) -> None:
    log = log_of(read_spec(made.spec)).model_copy(update={"duplicates": "keep"})

    assert rule_counts(log, made.folder)["lines used"] == len(made.sales) + 11


def test_lines_in_another_currency_are_rejected_or_excluded(made: SyntheticLog, tmp_path: Path) -> None:
    lines = made.lines.copy()
    lines.loc[lines.index[:5], "Währung"] = "CHF"
    lines.loc[lines.index[5:7], "Währung"] = None
    lines.to_csv(tmp_path / "belege.csv", index=False)
    log = log_of(read_spec(made.spec))

    with pytest.raises(
        DataInvalid, match=r"column 'Währung': \d lines have a currency other than EUR: 'CHF' \(\d\), ''"
    ):
        rule_counts(log, tmp_path)
    found = rule_counts(log.model_copy(update={"other_currencies": "leave_out"}), tmp_path)

    strangers = lines[lines["Kunde"].notna() & (lines["Kunde"] != "0") & (lines["Zeit"] < "2026")]
    assert found["left out: OTHER_CURRENCY"] == -int((strangers["Währung"] != "EUR").sum())


def test_invalid_amounts_missing_files_and_missing_columns_are_rejected(made: SyntheticLog, tmp_path: Path) -> None:
    log = log_of(read_spec(made.spec))
    made.lines.assign(Betrag="much").to_csv(tmp_path / "belege.csv", index=False)

    with pytest.raises(DataInvalid, match=r"column 'Betrag': .* not numbers, first 'much' in line 2 of belege\.csv"):
        rule_counts(log, tmp_path)
    with pytest.raises(DataInvalid, match="no such file"):
        rule_counts(log.model_copy(update={"path": "gone.csv"}), tmp_path)
    with pytest.raises(SpecInvalid, match=r"log\.columns\.amount: 'Summe'"):
        rule_counts(log.model_copy(update={"columns": log.columns.model_copy(update={"amount": "Summe"})}), made.folder)


def test_two_statuses_of_a_customer_from_the_same_day_are_rejected(made: SyntheticLog, tmp_path: Path) -> None:
    pd.concat([made.statuses, made.statuses.head(1)]).to_csv(tmp_path / "twice.csv", index=False)
    spec = read_spec(made.spec)

    with (
        pytest.raises(DataInvalid, match="at most one status for each day in 'seit'; 1 customers have several"),
        open_transaction_log(log_of(spec), spec.status, SourcePaths(made.folder, status=tmp_path / "twice.csv"), 1),
    ):
        pass


def test_rows_of_a_status_table_without_effect_are_listed(made: SyntheticLog, tmp_path: Path) -> None:
    one = made.statuses.iloc[[0]]
    changes = [
        {"Kunde": "9", "seit": "2025-01-01"},
        {"Zustand": "zu!", "seit": "2020-01-02"},
        {"Zustand": "zu!", "seit": "2020-01-03"},
        {"seit": ""},
        {"Kunde": f"0{one['Kunde'].iloc[0]}", "seit": "2020-01-04"},
    ]
    pd.concat([made.statuses, *(one.assign(**change) for change in changes)]).to_csv(tmp_path / "s.csv", index=False)
    spec = read_spec(made.spec)
    sources = SourcePaths(made.folder, status=tmp_path / "s.csv")
    with open_transaction_log(log_of(spec), spec.status, sources, 1) as log:
        detail = next(each.detail for each in log.columns if each.column == "[status]")

    usual = made.statuses["Zustand"].value_counts()
    active = {value: count for value, count in usual.items() if value == "aktiv"}
    assert detail.startswith(
        f"rows: {len(made.statuses) + 5}; values that mean an active customer, because status.names lacks"
    )
    assert "'zu!' (2)" in detail
    assert all(f"{value!r} ({count})" in detail for value, count in active.items())
    customer = str(one["Kunde"].iloc[0])
    assert f"customers without a line: 2: 0{customer} (the log has {customer}), 9; " in detail
    assert detail.endswith("rows without a customer or a day, so without effect: 1")


def test_features_equal_those_computed_in_plain_python(made: SyntheticLog) -> None:
    spec = read_spec(made.spec)
    with open_transaction_log(log_of(spec), spec.status, SourcePaths(made.folder), 1) as log:
        create_customers(log, snapshots_of(spec), CUT)
        found = log.connection.execute("SELECT * FROM customers").df().set_index(["market", "customer_id"])

    known = without_cancelled_lines(made.sales[made.sales["Zeit"] < pd.Timestamp(CUT)])
    assert len(known) < (made.sales["Zeit"] < pd.Timestamp(CUT)).sum()
    known = known.assign(age=(pd.Timestamp(CUT) - known["Zeit"].dt.normalize()) // DAY)
    bought = purchases(known)
    keys = bought.groupby(["Land", "Kunde"])["age"].min()
    assert set(found.index) == set(keys[keys <= 60].index)
    for key, row in found.sort_index().iloc[::3].iterrows():
        own = bought[(bought["Land"] == key[0]) & (bought["Kunde"] == key[1])]
        days = sorted(own["age"].unique(), reverse=True)
        gaps = [one - other for one, other in pairwise(days)]
        last = own[own["age"] <= 90]
        came_back = known[
            (known["Land"] == key[0]) & (known["Kunde"] == key[1]) & (known["age"] <= 90) & (known["Betrag"] < 0)
        ]
        shares = [half.groupby("Gruppe")["Betrag"].sum() for half in (last[last["age"] <= 45], last[last["age"] > 45])]
        now, then = ((one / one.sum()).reindex(sorted(last["Gruppe"].unique()), fill_value=0.0) for one in shares)
        assert row["recency_days"] == days[-1]
        assert row["purchase_days"] == len(days)
        assert row["spend_90"] == pytest.approx(last["Betrag"].sum())
        assert row["returns_90"] == len(came_back)
        assert row["returned_share_90"] == pytest.approx(-came_back["Betrag"].sum() / last["Betrag"].sum())
        assert row["top_category_share_90"] == pytest.approx(
            last.groupby("Gruppe")["Betrag"].sum().max() / last["Betrag"].sum()
        )
        if len(shares[0]) and len(shares[1]):
            assert row["category_shift_45"] == pytest.approx(abs(now - then).sum() / 2)
        if gaps:
            assert row["gap_median_days"] == pytest.approx(pd.Series(gaps).median())
            silent = sum(max(gap - 40, 0) for gap in gaps) + max(days[-1] - 40, 0)
            assert row["own_silent_share"] == pytest.approx(silent / max(days[0] - 40, 1))


def test_labels_statuses_and_horizons_equal_those_computed_in_plain_python(made: SyntheticLog) -> None:
    samples, _ = read_log_samples(read_spec(made.spec), SourcePaths(made.folder), 1)
    declines, _ = read_log_samples(read_spec(made.decline_spec), SourcePaths(made.folder), 1)

    rows = samples.rows[samples.rows["period"] == str(CUT)]
    declining = declines.rows[declines.rows["period"] == str(CUT)]
    ends = {(one.Land, one.Kunde): (one.Zustand, dt.date.fromisoformat(one.seit)) for one in made.statuses.itertuples()}
    seen = dict.fromkeys((0, 1), 0)
    sales = without_cancelled_lines(made.sales)  # both lines of a pair are on one day, so on one side of the cut
    for row, decline in zip(rows.itertuples(), declining.itertuples(), strict=True):
        horizon = 40 if pd.isna(row.gap_median_days) else min(40, max(14, -(-4 * row.gap_median_days // 1)))
        until = pd.Timestamp(CUT) + int(horizon) * DAY
        own = sales[(sales["Land"] == row.market) & (sales["Kunde"] == row.customer_id)]
        ahead = purchases(own[(own["Zeit"] >= pd.Timestamp(CUT)) & (own["Zeit"] < until)])
        assert row.horizon_days == horizon
        assert row.label == int(ahead.empty)
        assert decline.label == int(ahead["Betrag"].sum() <= 0.5 * row.spend_90 * horizon / 90)
        assert row.purchase_days >= 3
        state, since = ends.get((row.market, row.customer_id), ("aktiv", CUT))
        assert state == "aktiv" or since >= until.date()
        seen[row.label] += 1
    assert min(seen.values()) > 10
    counts = dict(samples.waterfall)
    assert counts["snapshot 2025-10-01 (HOLD_OUT): customers"] > len(rows)
    assert any("NOT_ENOUGH_HISTORY" in what for what in counts)
    assert any("ENDED" in what for what in counts)


def test_an_unfinished_horizon_and_a_date_beyond_the_log_are_rejected(made: SyntheticLog) -> None:
    spec = read_spec(made.spec)
    late = spec.model_copy(
        update={"snapshots": snapshots_of(spec).model_copy(update={"test": (dt.date(2025, 11, 10),)})}
    )

    with pytest.raises(
        DataInvalid,
        match=r"snapshots 2025-11-10: the lines of market AT end 2025-11-\d\d \d\d:\d\d, before the horizon",
    ):
        read_log_samples(late, SourcePaths(made.folder), 1)
    with pytest.raises(DataInvalid, match="--at 2026-02-01: the log ends"):
        read_log_customers(spec, SourcePaths(made.folder), dt.date(2026, 2, 1), 1)


def truncated_market(made: SyntheticLog, folder: Path, end: str) -> SourcePaths:
    """Write the log without the lines of market AT that are dated `end` or later; return the paths of the sources."""
    lines = made.lines[(made.lines["Land"] != "AT") | (pd.to_datetime(made.lines["Zeit"]) < pd.Timestamp(end))]
    lines.to_csv(folder / "short.csv", index=False)
    return SourcePaths(made.folder, data=folder / "short.csv")


def test_a_market_whose_feed_stopped_is_rejected_instead_of_labelled_as_churn(
    made: SyntheticLog, tmp_path: Path
) -> None:
    sources = truncated_market(made, tmp_path, "2025-10-20")
    spec = read_spec(made.spec)

    with pytest.raises(DataInvalid) as refused:
        read_log_samples(spec, sources, 1)
    with pytest.raises(
        DataInvalid,
        match=r"--at 2025-11-01: the lines of market AT end 2025-10-19 .*up to 2025-10-20.*remove its lines",
    ):
        read_log_customers(spec, sources, dt.date(2025, 11, 1), 1)

    assert str(refused.value).startswith("snapshots 2025-10-01: the lines of market AT end 2025-10-19")
    assert "market DE" not in str(refused.value)
    assert "remove its lines from the log" in str(refused.value)
    assert len(read_log_customers(spec, sources, dt.date(2025, 10, 20), 1))


def test_a_market_without_customers_in_scope_is_ignored(made: SyntheticLog, tmp_path: Path) -> None:
    """Market AT ends in January, the first snapshot is of April, and purchases keep a customer in scope for 60 days."""
    samples, latest = read_log_samples(read_spec(made.spec), truncated_market(made, tmp_path, "2025-02-01"), 1)

    assert set(samples.rows["market"]) == set(latest["market"]) == {"DE"}


def test_customers_are_in_the_hold_out_only_at_the_cut_of_a_test_snapshot(made: SyntheticLog) -> None:
    spec = read_spec(made.spec)

    tested, later = (read_log_customers(spec, SourcePaths(made.folder), day, 1) for day in (CUT, dt.date(2025, 11, 1)))

    assert set(tested["sample"]) == {"HOLD_OUT"}
    assert set(later["sample"]) == {"NONE"}


def test_invalid_markets_are_rejected_and_customers_keep_leading_zeros(made: SyntheticLog, tmp_path: Path) -> None:
    spec = read_spec(made.spec)
    lines = made.lines.assign(Land=made.lines["Land"].replace("AT", "at"))
    lines.to_csv(tmp_path / "belege.csv", index=False)
    with pytest.raises(
        DataInvalid, match=r"column 'Land': .* not valid markets, first 'at' in line \d+ of belege\.csv"
    ):
        rule_counts(log_of(spec), tmp_path)
    pq.write_table(pa.Table.from_pandas(made.lines.assign(Land="D ")), tmp_path / "belege.parquet")
    with pytest.raises(
        DataInvalid, match=r"column 'Land': .* not valid markets, first 'D' in row 1 of belege\.parquet"
    ):
        rule_counts(log_of(spec).model_copy(update={"path": "belege.parquet"}), tmp_path)

    numbers = made.lines["Kunde"].str.removeprefix("K").str.zfill(5)
    numbers[made.lines["Kunde"] == "0"] = "0"
    lines = made.lines.assign(Kunde=numbers, Land=made.lines["Land"].replace("AT", "NA"))
    lines.to_csv(tmp_path / "belege.csv", index=False)
    with open_transaction_log(log_of(spec), None, SourcePaths(tmp_path), 1) as opened:
        found = opened.connection.execute("SELECT DISTINCT market, customer_id FROM valid_lines").df()

    assert set(found["market"]) == {"NA", "DE"}
    assert found["customer_id"].str.fullmatch("[0-9]{5}").all()


def test_a_status_table_with_invalid_markets_is_rejected(made: SyntheticLog, tmp_path: Path) -> None:
    made.statuses.assign(Land="de").to_csv(tmp_path / "status.csv", index=False)
    spec = read_spec(made.spec)

    with (
        pytest.raises(
            DataInvalid, match=r"column 'Land': 24 values are not valid markets, first 'de' in line 2 of status\.csv"
        ),
        open_transaction_log(log_of(spec), spec.status, SourcePaths(made.folder, status=tmp_path / "status.csv"), 1),
    ):
        pass


def test_a_line_dated_after_today_does_not_make_an_immature_snapshot_mature(made: SyntheticLog, tmp_path: Path) -> None:
    """The log ended five days ago, except for a line with a mistyped year."""
    today = dt.datetime.now(dt.UTC).date()
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'A' AS c, TIMESTAMP '{today}' - INTERVAL 5 DAY AS t, 1.0 AS a UNION ALL "
            f"SELECT 'A', TIMESTAMP '{today}' + INTERVAL 900 DAY, 1.0) TO '{tmp_path}/log.parquet'"
        )
    log = LogSpec.model_validate(
        {
            "path": "log.parquet",
            "market": "DE",
            "currency": "EUR",
            "duplicates": "keep",
            "columns": {"customer_id": "c", "time": "t", "amount": "a"},
        }
    )

    with open_transaction_log(log, None, SourcePaths(tmp_path), 1) as opened:
        assert [market.last for market in opened.market_days()] == [today - dt.timedelta(days=5)]
        assert dict(opened.waterfall)["left out: FUTURE_DATED"] == -1
    assert made.sales["Zeit"].max() < pd.Timestamp(today)
