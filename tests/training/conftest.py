"""Shared fixtures: the churn and decline models of a synthetic transaction log."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.model import Model, open_model
from tests.server.conftest import postgres
from tests.training.transaction_logs import SyntheticLog, write_log
from training.console import Console
from training.release.model_release import release_model
from training.scoring.feature_file import write_feature_file
from training.scoring.scoring_run import RunOptions, score_transaction_log
from training.sources.snapshots import read_log_samples
from training.sources.transaction_log import SourcePaths
from training.spec import read_spec, spec_digest

__all__ = ["postgres"]
AT = dt.date(2025, 11, 1)


@dataclass(frozen=True, slots=True)
class Trained:
    """A synthetic log, and the churn and decline models that were trained on the log."""

    made: SyntheticLog
    churn: Model
    decline: Model

    def extras(self, **others: Any) -> RunOptions:
        """Return the options of a scoring run with the decline model and any other options."""
        return RunOptions(decline=self.decline, **others)

    def run(self, to: Path, extras: RunOptions) -> pd.DataFrame:
        """Score the log, and return the rows of the run file."""
        score_transaction_log(read_spec(self.made.spec), self.churn, SourcePaths(self.made.folder), AT, to, extras)
        return pq.read_table(to).to_pandas()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the churn and decline models on a synthetic log once; tests must not change them."""
    made = write_log(tmp_path_factory.mktemp("log"))
    models = []
    for path in (made.spec, made.decline_spec):
        spec = read_spec(path)
        samples, latest = read_log_samples(spec, SourcePaths(made.folder), 1)
        folder = release_model(spec, spec_digest(path), samples, made.folder / "bundles", Console(1)).folder
        models.append(open_model(read_bundle(folder)))
        write_feature_file(made.folder / f"{spec.family}.parquet", spec.family, models[-1].bundle.schema, latest)
    return Trained(made, *models)
