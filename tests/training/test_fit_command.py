"""`python -m training fit` does not replace files of other markets, and writes a report even for a rejected model."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.small import ACCEPTING, SPEC, made_customers
from training.__main__ import fit
from training.errors import DataInvalid, ModelRejected

TREES = SPEC.replace('base = "none"', ACCEPTING)
STRICT = TREES + '\n[[gates]]\nfigure = "hold_out.auc"\nmin = 0.9999\n'


def fit_markets(folder: Path, markets: list[str], spec_text: str = TREES, form: str = "csv") -> None:
    """Fit the small family on the customers of some markets, with all files below one folder."""
    table = made_customers(1200)
    table, path = table[table["country"].isin(markets)], folder / f"customers.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path, index=False)
    (folder / "spec.toml").write_text(spec_text)
    fit(folder / "spec.toml", folder / "bundles", folder / "files", path, threads=1)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_feature_file_of_one_market_is_not_replaced_by_that_of_another(form: str, tmp_path: Path) -> None:
    fit_markets(tmp_path, ["DE"], form=form)
    path = tmp_path / "files" / "credit.features.parquet"
    before, bundles = path.read_bytes(), sorted((tmp_path / "bundles" / "credit").iterdir())

    with pytest.raises(
        DataInvalid, match=r"already has customers of market DE, .*; set --files DIR to keep both files"
    ):
        fit_markets(tmp_path, ["FR"], form=form)

    assert path.read_bytes() == before
    assert sorted((tmp_path / "bundles" / "credit").iterdir()) == bundles
    fit_markets(tmp_path, ["DE", "FR"], form=form)
    assert set(pq.read_table(path)["market"].to_pylist()) == {"DE", "FR"}


def test_a_model_that_a_release_gate_rejects_still_gets_its_report(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected) as refused:
        fit_markets(tmp_path, ["DE", "FR"], STRICT)

    folder = tmp_path / "files" / "credit.rejected"
    assert f"report of the rejected model: {folder / 'report.html'}" in str(refused.value)
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "metrics.json", "report.html"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "This model failed a release gate and was not released" in report
    assert not (tmp_path / "bundles").exists()
    assert not (tmp_path / "files" / "credit.features.parquet").exists()
