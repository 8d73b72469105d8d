"""Rejected applicants change the report and nothing else: a sensitivity run with assumed outcomes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.bundle_documents import MetricsDocument
from tests.small import ACCEPTING, SPEC, SmallFamily, made_customers, write_small_family
from training.errors import DataInvalid, SpecInvalid
from training.sources.samples import Samples
from training.sources.table import read_table_samples
from training.spec import read_spec
from training.validation.reject_sensitivity import assume_outcomes

SMALL = SPEC.replace('base = "none"', ACCEPTING).replace("trials = 2", "trials = 1")
CONDITION = "where = \"decision = 'R'\"\n"
EXCLUDE = f'[[table.exclude]]\ncode = "REJECTED"\n{CONDITION}'
REJECT = f"[table.reject]\n{CONDITION}bad_shares = [0.1, 0.8]\n"


def with_decisions() -> pd.DataFrame:
    """Return customers of whom the late ones were mostly rejected, so that their outcomes are missing."""
    table = made_customers(900)
    rejected = (table["days_late"] > 25) & (np.arange(len(table)) % 10 != 0)
    return table.assign(decision=np.where(rejected, "R", "A"), bad=table["bad"].where(~rejected))


def spec_text(part: str) -> str:
    """Return the spec with a part that belongs to [table]."""
    return SMALL.replace("[search]", f"{part}\n[search]")


def samples_of(folder: Path, part: str) -> Samples:
    """Return the samples of the table with decisions."""
    with_decisions().to_csv(folder / "customers.csv", index=False)
    (folder / "spec.toml").write_text(spec_text(part))
    return read_table_samples(read_spec(folder / "spec.toml"), folder / "customers.csv")[1]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> SmallFamily:
    """Release a model whose spec has [table.reject]."""
    return write_small_family(tmp_path_factory.mktemp("reject"), spec_text(REJECT), with_decisions())


def test_the_report_states_how_rejected_applicants_would_change_the_model(family: SmallFamily) -> None:
    metrics = MetricsDocument.model_validate_json((family.bundle_folder / "metrics.json").read_bytes()).metrics
    rejected = int((with_decisions()["decision"] == "R").sum())
    assert metrics["reject.rows"] == rejected
    low, high = metrics["reject.0.1.rejected_mean_pd"], metrics["reject.0.8.rejected_mean_pd"]
    assert low < metrics["reject.mean_pd"] < high - 0.1
    assert 0 < metrics["reject.0.8.grade_changes"] <= 1
    report = (family.bundle_folder / "report.html").read_text()
    assert "80.0% of them bad" in report.replace("80.0 %", "80.0%")
    card = (family.bundle_folder / "card.md").read_text()
    assert f"- left out: REJECTED_APPLICANT: -{rejected:,}" in card
    assert "if 10%, 80% of them had been bad; these shares are assumptions" in card


def test_the_model_is_fitted_on_the_same_rows_with_and_without_rejected_applicants(tmp_path: Path) -> None:
    with_them, without = (samples_of(tmp_path, part) for part in (REJECT, EXCLUDE))

    pd.testing.assert_frame_equal(with_them.rows, without.rows)
    assert with_them.rejected is not None
    assert len(with_them.rejected) + len(with_them.rows) == len(with_decisions())
    assert without.rejected is None


def test_rejected_applicants_of_small_markets_only_are_a_remark(tmp_path: Path) -> None:
    """All rejected applicants are in a market that is left out because it is too small, so none remains."""
    table = made_customers(900)
    small = table[table["country"] == "FR"].head(40)
    decisions = ["R"] * 5 + ["A"] * 35
    table = pd.concat([table[table["country"] == "DE"].assign(decision="A"), small.assign(decision=decisions)])
    part = f'{REJECT}[markets]\non_problem = "leave_out"\nrows_min = 200\n'
    family = write_small_family(tmp_path, SMALL.replace("[search]", f"{part}\n[search]"), table)

    metrics = MetricsDocument.model_validate_json((family.bundle_folder / "metrics.json").read_bytes()).metrics
    assert not [name for name in metrics if name.startswith("reject.")]
    report = (family.bundle_folder / "report.html").read_text()
    assert "rejected applicants: not measured: no row of [table.reject] is left" in report


@pytest.mark.long
def test_the_released_model_is_the_same_with_and_without_rejected_applicants(
    family: SmallFamily, tmp_path: Path
) -> None:
    without = write_small_family(tmp_path, spec_text(EXCLUDE), with_decisions())

    for file in ("model.txt", "score.onnx", "explain.onnx", "scorecard.json", "baseline.json", "golden.json"):
        assert (family.bundle_folder / file).read_bytes() == (without.bundle_folder / file).read_bytes(), file


@pytest.mark.parametrize("share", [0.001, 0.2, 0.95])
def test_the_assumed_share_is_met_exactly_and_riskier_applicants_are_bad_more_often(share: float) -> None:
    pds = np.random.default_rng(1).beta(1, 4, 4000).clip(1e-6, 1 - 1e-6)

    labels = assume_outcomes(pds, share)

    assert abs(int(labels.sum()) - share * len(pds)) <= 1
    bands = np.array_split(labels[np.argsort(pds)], 4)
    rates = [band.mean() for band in bands]
    assert rates == sorted(rates)
    # Bayes: the odds of two bands differ by the same factor as the odds of their pds.
    if share == 0.2:
        odds = [np.mean(band) / (1 - np.mean(band)) for band in (bands[3], np.array_split(np.sort(pds), 4)[3])]
        assert odds[0] == pytest.approx(odds[1], rel=0.1)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            REJECT.replace("'R'", "'X'"),
            {},
            r"table\.reject: the condition `where` is true for no row of customers\.csv",
        ),
        (
            REJECT.replace("= 'R'", "> 5"),
            {},
            r"^table\.reject\.where: .* compares text with a number \('decision' is text\)",
        ),
        (
            REJECT,
            {"turnover": "much"},
            r"rejected applicants \(table\.reject\): column 'turnover': 1 value is not a number",
        ),
        (REJECT.replace("0.1, 0.8", "0.8, 0.1"), {}, "bad_shares must ascend"),
        (REJECT.replace("0.1, 0.8", ""), {}, "bad_shares"),
    ],
)
def test_rejected_applicants_that_cannot_be_read_are_rejected(
    part: str, change: dict[str, str], message: str, tmp_path: Path
) -> None:
    table = with_decisions().astype({"turnover": object})
    for column, value in change.items():
        table.loc[table.index[table["decision"] == "R"][0], column] = value
    table.to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "spec.toml").write_text(spec_text(part))

    with pytest.raises((DataInvalid, SpecInvalid), match=message):
        read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")
