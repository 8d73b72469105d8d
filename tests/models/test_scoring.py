"""One row is answered as it is among many, and no answer changes after it was given."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.bundle import read_bundle
from models.model import open_model
from models.scoring import FloatArray, Scorer
from tests.small import SmallFamily

ROWS = 200


@pytest.fixture
def scorer(small: SmallFamily) -> Scorer:
    """Open both graphs of the small model."""
    bundle = read_bundle(small.bundle_folder)
    return Scorer(bundle.score, bundle.explain)


@pytest.fixture
def rows(small: SmallFamily) -> FloatArray:
    """Draw rows about those of the baseline, some values missing."""
    random = np.random.default_rng(5)
    known = np.array(read_bundle(small.bundle_folder).baseline.rows, dtype=np.float64)
    drawn = random.permuted(known[random.integers(0, len(known), ROWS)], axis=0)
    drawn[random.random(drawn.shape) < 0.1] = np.nan
    return drawn


def test_one_row_has_the_bits_and_shapes_that_it_has_among_many(scorer: Scorer, rows: FloatArray) -> None:
    margins, contributions = scorer.explain(rows)
    assert len(np.unique(margins)) > 20
    for row, margin, parts in zip(rows, margins, contributions, strict=True):
        alone, of_alone = scorer.explain(row[None])

        assert (alone.shape, of_alone.shape) == ((1,), (1, rows.shape[1]))
        assert np.array_equal(alone, [margin])
        assert np.array_equal(of_alone, [parts])
        assert np.array_equal(scorer.margins(row[None]), [margin])
        assert scorer.explain_one(row[None]) == (margin, parts.tolist())


def test_an_answer_stays_as_it_was_given(scorer: Scorer, rows: FloatArray) -> None:
    given = [(scorer.margins(row[None]), *scorer.explain(row[None]), scorer.explain_one(row[None])) for row in rows]

    margins, contributions = scorer.explain(rows)
    assert np.array_equal(np.concatenate([margin for margin, *_ in given]), margins)
    assert np.array_equal(np.concatenate([margin for _, margin, *_ in given]), margins)
    assert np.array_equal(np.concatenate([parts for _, _, parts, _ in given]), contributions)
    assert [one for *_, one in given] == list(zip(margins.tolist(), contributions.tolist(), strict=True))


def test_threads_do_not_disturb_each_other(scorer: Scorer, rows: FloatArray) -> None:
    once = [scorer.explain_one(row[None]) for row in rows]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda row: scorer.explain_one(row[None]), list(rows) * 10)) == once * 10


def test_a_customer_is_explained_as_the_row_is(small: SmallFamily, rows: FloatArray) -> None:
    model = open_model(read_bundle(small.bundle_folder))
    names = model.bundle.schema.names

    alone = [model.explain(dict(zip(names, row, strict=True))) for row in rows.tolist()]

    assert alone == model.explain_rows(rows)
