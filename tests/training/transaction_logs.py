"""A synthetic transaction log for corner cases. Its columns have different names than those of the shipped log."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = pd.Timestamp("2025-01-01")
SPEC = """
family = "churn"
title = "Made caterers"
purpose = "Another shape of log"
population = "made"

[log]
path = "belege.csv"
currency = "EUR"
anonymous = ["0"]
until = 2025-12-01

[log.columns]
customer_id = "Kunde"
market = "Land"
time = "Zeit"
amount = "Betrag"
basket = "Beleg"
product = "Artikel"
category = "Gruppe"
currency = "Währung"

[status]
path = "status.csv"
customer_id = "Kunde"
market = "Land"
status = "Zustand"
since = "seit"
names = { geschlossen = "CLOSED", gesperrt = "BLOCKED_BY_US", verzogen = "MOVED_ENTITY" }

[snapshots]
fit = [2025-04-15, 2025-05-01, 2025-05-28, 2025-06-20]
calibration = [2025-08-01]
test = [2025-10-01]
latest = 2025-11-01
horizon_days = 40
horizon_gaps = 4.0
horizon_min_days = 14
active_days = 60
purchase_days_min = 3

[campaign]
name = "herbst"
hold_out_share = 0.2
capacity = 20

[value]
feature = "spend_90"
factor = 0.4444444444444444

[search]
trials = 2
folds = 2
validation = "forward"
max_leaves = 4

[score]
grades = [
  { grade = "LOW", max_pd = 0.10 },
  { grade = "MEDIUM", max_pd = 0.25 },
  { grade = "HIGH", max_pd = 0.50 },
  { grade = "CRITICAL", max_pd = 1.0 },
]

[[rivals]]
name = "recency over own gap"
kind = "single"
features = ["recency_over_gap_median"]

[[rivals]]
name = "BG/NBD"
kind = "bg_nbd"

[[gates]]
figure = "hold_out.auc"
min = 0.5

[[groups]]
code = "SILENCE"
[groups.texts]
en = "Usually orders every {gap_median_days} days, last order {recency_days} days ago"

[[groups]]
code = "SPEND"
[groups.texts]
en = "Spent {spend_90:#,##0.00} in 90 days (typical: {spend_90.typical}), sent {returned_share_90:#,##0%} of it back"

[[features]]
name = "recency_days"
sign = 1
group = "SILENCE"

[[features]]
name = "gap_median_days"
group = "SILENCE"

[[features]]
name = "recency_over_gap_median"
sign = 1
group = "SILENCE"

[[features]]
name = "spend_90"
group = "SPEND"

[[features]]
name = "returned_share_90"
group = "SPEND"

[[features]]
name = "category_shift_45"
"""
DECLINE_SPEC = """
extends = "spec.toml"
family = "churn_decline"

[snapshots]
outcome = "decline"

[[rivals]]
name = "recency"
kind = "single"
features = ["recency_days"]

[[features]]
name = "recency_days"

[[features]]
name = "gap_median_days"

[[features]]
name = "spend_90"

[[features]]
name = "returned_share_90"
"""


@dataclass(frozen=True, slots=True)
class SyntheticLog:
    """The files of a synthetic log and their contents.

    Attributes:
        lines: The lines of the log file, including the lines that the rules exclude.
        sales: The valid lines only: each line has a customer and occurs once. The tests compute expected results from
            these lines.
    """

    folder: Path
    lines: pd.DataFrame
    sales: pd.DataFrame
    statuses: pd.DataFrame

    @property
    def spec(self) -> Path:
        """Return the spec of churn."""
        return self.folder / "spec.toml"

    @property
    def decline_spec(self) -> Path:
        """Return the spec of spend decline."""
        return self.folder / "decline.toml"


def made_sales(customers: int, seed: int = 0) -> pd.DataFrame:
    """Return the sales of customers in two markets. Customers buy at different rates; some leave, some return goods."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        gap, leaves = random.uniform(2, 16), random.exponential(300)
        day = random.uniform(0, 60) if number % 12 else 295.0  # every twelfth customer is new at the run
        while day < min(330, 60 + leaves if number % 12 else 330):
            basket = f"{number}-{day:.3f}"
            for _ in range(random.integers(1, 4)):
                amount = round(float(random.lognormal(3, 1)), 2)
                rows.append((number, day, amount, basket, int(random.integers(40)), int(random.integers(6))))
                if random.random() < 0.06:
                    rows.append((number, day + random.uniform(0.01, 9), -amount, basket, 1, 1))
            day += random.exponential(gap)
    sales = pd.DataFrame(rows, columns=["number", "day", "Betrag", "Beleg", "Artikel", "Gruppe"])
    sales["Land"] = np.where(sales["number"] % 3 == 0, "AT", "DE")
    sales["Kunde"] = "K" + (sales["number"] // 2).astype(str)  # equal values of Kunde in two markets are two customers
    sales["Zeit"] = (FIRST + pd.to_timedelta(sales["day"], unit="D")).dt.floor("s")
    sales["Gruppe"] = "g" + sales["Gruppe"].astype(str)
    sales["Währung"] = "EUR"
    keys = ["Land", "Kunde", "Zeit", "Betrag", "Beleg", "Artikel", "Gruppe", "Währung"]
    return sales.loc[sales["Zeit"] < "2025-12-01", keys].drop_duplicates(ignore_index=True)


def write_log(folder: Path, customers: int = 360, seed: int = 0) -> SyntheticLog:
    """Write a log, a status table and specs.

    A quarter of the lines has no customer. Some lines are duplicates, and some are future-dated.
    """
    sales = made_sales(customers, seed)
    nobody = sales.sample(len(sales) // 3, random_state=0).assign(Kunde=None)
    nobody.loc[nobody.index[::2], "Kunde"] = "0"
    future = sales.head(7).assign(Zeit=pd.Timestamp("2031-01-01"))
    lines = pd.concat([sales, nobody, sales.tail(11), future], ignore_index=True).sample(frac=1.0, random_state=1)
    lines.to_csv(folder / "belege.csv", index=False)
    known = sales[["Land", "Kunde"]].drop_duplicates(ignore_index=True)
    states = ["geschlossen", "gesperrt", "verzogen", "aktiv"]
    days = [f"2025-{6 + number % 5:02d}-15" for number in range(24)]
    statuses = known.head(24).assign(Zustand=[states[number % 4] for number in range(24)], seit=days)
    statuses.to_csv(folder / "status.csv", index=False)
    (folder / "spec.toml").write_text(SPEC, encoding="utf-8")
    (folder / "decline.toml").write_text(DECLINE_SPEC, encoding="utf-8")
    return SyntheticLog(folder, lines, sales, statuses)
