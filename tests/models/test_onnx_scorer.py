"""A row has the same results, bit for bit, alone and among many rows, with and without ONNX Runtime's private API.

A later call does not overwrite the results of an earlier call.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnx
import pytest

from models.bundle import read_bundle
from models.model import open_model
from models.onnx_scorer import BATCH_ROWS_KEY, EXPLAIN_OUTPUTS, BoundRow, FloatArray, Scorer, _private_run, open_session
from tests.small import SmallFamily

ROWS = 200


@pytest.fixture
def scorer(small: SmallFamily) -> Scorer:
    """Open both graphs of the small model."""
    bundle = read_bundle(small.bundle_folder)
    return Scorer(bundle.score, bundle.explain)


@pytest.fixture
def public_scorer(small: SmallFamily) -> Scorer:
    """Open both graphs of the small model without the private API."""
    bundle = read_bundle(small.bundle_folder)
    return Scorer(bundle.score, bundle.explain, use_private_api=False)


@pytest.fixture
def rows(small: SmallFamily) -> FloatArray:
    """Return rows drawn from the baseline, column by column, with some values missing."""
    random = np.random.default_rng(5)
    known = np.array(read_bundle(small.bundle_folder).baseline.rows, dtype=np.float64)
    drawn = random.permuted(known[random.integers(0, len(known), ROWS)], axis=0)
    drawn[random.random(drawn.shape) < 0.1] = np.nan
    return drawn


def test_a_row_has_the_same_bits_and_shapes_alone_as_among_many_rows(scorer: Scorer, rows: FloatArray) -> None:
    margins, contributions = scorer.explain(rows)
    assert len(np.unique(margins)) > 20
    for row, margin, parts in zip(rows, margins, contributions, strict=True):
        alone, of_alone = scorer.explain(row[None])

        assert (alone.shape, of_alone.shape) == ((1,), (1, rows.shape[1]))
        assert np.array_equal(alone, [margin])
        assert np.array_equal(of_alone, [parts])
        assert np.array_equal(scorer.margins(row[None]), [margin])
        assert scorer.explain_one(row[None]) == (margin, parts.tolist())


def test_a_later_call_does_not_overwrite_an_earlier_result(scorer: Scorer, rows: FloatArray) -> None:
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


def test_a_customer_is_explained_like_the_row(small: SmallFamily, rows: FloatArray) -> None:
    model = open_model(read_bundle(small.bundle_folder))
    names = model.bundle.schema.names

    alone = [model.explain(dict(zip(names, row, strict=True))) for row in rows.tolist()]

    assert alone == model.explain_rows(rows)


def test_the_installed_runtime_has_the_private_api(small: SmallFamily) -> None:
    """If this test fails, the installed release of ONNX Runtime has no such API.

    Scores stay correct but take a tenth longer, so a replacement should be found.
    """
    graph = open_session(read_bundle(small.bundle_folder).score, ("margin",))

    assert _private_run(graph, graph.io_binding()) is not None


def test_a_runtime_without_the_private_api_is_called_through_the_public_one(small: SmallFamily) -> None:
    graph = open_session(read_bundle(small.bundle_folder).explain, EXPLAIN_OUTPUTS)
    private, public = (BoundRow(graph, EXPLAIN_OUTPUTS, use_private_api=use) for use in (True, False))

    assert _private_run(object(), graph.io_binding()) is None
    assert _private_run(graph, object()) is None
    assert isinstance(public._run, partial)
    assert isinstance(private._run, partial)
    assert public._run.func == graph.run_with_iobinding
    assert private._run.func != graph.run_with_iobinding


def test_the_public_api_returns_the_same_bits(scorer: Scorer, public_scorer: Scorer, rows: FloatArray) -> None:
    for row in rows:
        margin, contributions = scorer.explain(row[None])
        public_margin, public_contributions = public_scorer.explain(row[None])

        assert public_margin.tobytes() == margin.tobytes()
        assert public_contributions.tobytes() == contributions.tobytes()
        assert public_scorer.margins(row[None]).tobytes() == scorer.margins(row[None]).tobytes()
        assert public_scorer.explain_one(row[None]) == scorer.explain_one(row[None])


@pytest.mark.parametrize("stated", ["0", "65", "-1", "many", "9" * 400])
def test_a_graph_that_states_an_invalid_number_of_rows_per_call_is_rejected(small: SmallFamily, stated: str) -> None:
    bundle = read_bundle(small.bundle_folder)
    graph = onnx.load_from_string(bundle.explain)
    onnx.helper.set_model_props(graph, {BATCH_ROWS_KEY: stated})

    with pytest.raises(ValueError, match="batch_rows of the graph must be a number from 1 to 64"):
        Scorer(bundle.score, graph.SerializeToString())


def test_fewer_rows_per_call_change_no_bit(small: SmallFamily, scorer: Scorer, rows: FloatArray) -> None:
    bundle = read_bundle(small.bundle_folder)
    graph = onnx.load_from_string(bundle.explain)
    onnx.helper.set_model_props(graph, {BATCH_ROWS_KEY: "7"})

    margins, contributions = Scorer(bundle.score, graph.SerializeToString()).explain(rows)

    assert np.array_equal(margins, scorer.explain(rows)[0])
    assert np.array_equal(contributions, scorer.explain(rows)[1])
