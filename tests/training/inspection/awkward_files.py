"""Generated files in awkward formats, as spreadsheets and shop systems export them."""

from pathlib import Path

import numpy as np
import pandas as pd

HEADER = "Kunden-Nr;Umsatz (EUR);Verzug in Tagen;Größe Ort;Branche;Mahnung am;Bonität"


def german(value: float, decimals: int = 2) -> str:
    """Return a number with a decimal comma and with points as thousands separators; "" for a missing number."""
    text = f"{value:,.{decimals}f}".replace(",", "_").replace(".", ",").replace("_", ".")
    return "" if np.isnan(value) else text


def write_awkward_customers(path: Path, count: int = 1500) -> list[str]:
    """Write a table of customers with semicolons, decimal commas, cp1252, empty cells, "n.a.", and an outcome as text.

    The column "Mahnung am" is filled for bad customers only, so it reveals the outcome.

    Returns:
        The lines of the file.
    """
    random = np.random.default_rng(7)
    lines = [HEADER]
    for number in range(count):
        turnover, late = random.lognormal(9, 1), random.exponential(15)
        is_bad = random.random() < 1 / (1 + np.exp(2.0 - 0.06 * late + 0.4 * (np.log(turnover) - 9)))
        cells = [
            f"{number + 7:06d}",
            german(np.nan if random.random() < 0.1 else turnover),
            "n.a." if number % 211 == 5 else german(np.nan if random.random() < 0.1 else late, 1),
            str(random.integers(1, 9)),
            str(random.choice(["Hotel", "Händler", "Caterer", ""])),
            "12.01.2026" if is_bad else "",
            "schlecht" if is_bad else "gut",
        ]
        lines.append(";".join(cells))
    path.write_text("\r\n".join([*lines, ""]), encoding="cp1252", newline="")
    return lines


def write_awkward_log(path: Path, customers: int = 300) -> None:
    """Write a transaction log with tabs, German dates and decimal commas, but without baskets or products."""
    random = np.random.default_rng(8)
    first = pd.Timestamp("2025-01-01")
    lines = ["Kundennummer\tBuchungsdatum\tBetrag in EUR\tLand\tBemerkung"]
    for number in range(customers):
        day, leaves = random.uniform(0, 20), random.exponential(250)
        while day < min(300, 60 + leaves):
            date = first + pd.Timedelta(days=int(day))
            lines.append(f"{number + 100}\t{date:%d.%m.%Y}\t{german(random.lognormal(3, 1))}\tÖsterreich\t")
            day += random.exponential(9) + 1
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
