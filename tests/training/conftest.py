"""What tests of logs share: both models of a made log."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.model import Model, open_model
from tests.training.transaction_logs import MadeLog, write_log
from training.console import Console
from training.release.model_release import release
from training.scoring.feature_file import write_features
from training.scoring.scoring_run import Extras, write_run_at
from training.sources.snapshots import samples_of_log
from training.sources.transaction_log import Sources
from training.spec import read_spec, spec_digest

AT = dt.date(2025, 11, 1)


@dataclass(frozen=True, slots=True)
class Trained:
    """A made log with both of its models."""

    made: MadeLog
    churn: Model
    decline: Model

    def extras(self, **others: Any) -> Extras:
        """Give what a run is made with."""
        return Extras(decline=self.decline, **others)

    def run(self, to: Path, extras: Extras) -> pd.DataFrame:
        """Score the log and read the run."""
        write_run_at(read_spec(self.made.spec), self.churn, Sources(self.made.folder), AT, to, extras)
        return pq.read_table(to).to_pandas()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train churn and decline on the made log, once. Read only."""
    made = write_log(tmp_path_factory.mktemp("log"))
    models = []
    for path in (made.spec, made.decline_spec):
        spec = read_spec(path)
        samples, latest = samples_of_log(spec, Sources(made.folder), 1)
        folder = release(spec, spec_digest(path), samples, made.folder / "bundles", Console(1)).folder
        models.append(open_model(read_bundle(folder)))
        write_features(made.folder / f"{spec.family}.parquet", spec.family, models[-1].bundle.schema, latest)
    return Trained(made, *models)
