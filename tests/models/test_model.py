"""A model can be opened only if it reproduces its golden rows; an open model explains values by feature name."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from models.bundle import read_bundle
from models.errors import BundleInvalid
from models.model import _rows_array, open_model
from tests.models.changed_bundles import write_with_document, write_with_file
from tests.small import SmallFamily


def up(value: float, steps: int = 1) -> float:
    """Return the double that is `steps` doubles above a value."""
    for _ in range(steps):
        value = math.nextafter(value, math.inf)
    return value


def first(document: Any) -> Any:
    """Return the first golden row."""
    return document["rows"][0]


def move_value(key: str, amount: float, index: int = 0) -> Callable[[Any], None]:
    """Return a change that moves one number of a list in the first golden row."""

    def change(document: Any) -> None:
        first(document)[key][index] += amount

    return change


GOLDEN_FAULTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a margin one double up": (lambda d: first(d).update(margin=up(first(d)["margin"])), r"rows\[0\]: margin is"),
    "a pd moved by 1e-9": (lambda d: first(d).update(pd=first(d)["pd"] + 1e-9), r"rows\[0\]: pd is"),
    "a score one up": (lambda d: first(d).update(score=first(d)["score"] + 1), r"rows\[0\]: score, points or grade"),
    "a point moved": (move_value("points", 1), r"rows\[0\]: score, points or grade"),
    "another grade": (lambda d: first(d).update(grade="Z"), r"rows\[0\]: score, points or grade"),
    "a contribution moved by 1e-8": (move_value("contributions", 1e-8), r"rows\[0\]: a contribution is"),
    "the last row, not the first": (lambda d: d["rows"][-1].update(score=1), r"rows\[\d\d\]: score, points or grade"),
    "a row of another customer": (lambda d: first(d).update(row=[365.0, 0.0, 0.0, 0.0]), r"rows\[0\]: margin is"),
    "a row one value short": (lambda d: first(d)["row"].pop(), ""),
    "a row one value too long": (lambda d: first(d)["row"].append(1.0), ""),
    "every row one value short": (lambda d: [row["row"].pop() for row in d["rows"]], ""),
    "contributions one value short": (lambda d: first(d)["contributions"].pop(), ""),
    "points one value short": (lambda d: first(d)["points"].pop(), r"rows\[0\]: must have the 4 values"),
}


@pytest.mark.parametrize("name", GOLDEN_FAULTS)
def test_a_bundle_whose_golden_row_is_not_reproduced_is_rejected(small: SmallFamily, tmp_path: Path, name: str) -> None:
    change, message = GOLDEN_FAULTS[name]
    bundle = read_bundle(write_with_document(small.bundle_folder, tmp_path, "golden.json", change))

    with pytest.raises(BundleInvalid, match=f"^golden.json: {message}"):
        open_model(bundle)


def test_a_golden_contribution_may_differ_by_the_rounding_error_of_a_sum(small: SmallFamily, tmp_path: Path) -> None:
    open_model(
        read_bundle(
            write_with_document(small.bundle_folder, tmp_path, "golden.json", move_value("contributions", 1e-11))
        )
    )


def test_a_calibration_that_differs_from_the_golden_rows_is_rejected(small: SmallFamily, tmp_path: Path) -> None:
    changed = write_with_document(small.bundle_folder, tmp_path, "scorecard.json", lambda d: d.update(intercept=0.25))

    with pytest.raises(BundleInvalid, match=r"^golden[.]json: rows\[0\]: pd is"):
        open_model(read_bundle(changed))


def test_a_base_margin_that_differs_from_the_explanation_is_rejected(small: SmallFamily, tmp_path: Path) -> None:
    changed = write_with_document(
        small.bundle_folder, tmp_path, "baseline.json", lambda d: d.update(base_margin=d["base_margin"] + 1e-6)
    )

    with pytest.raises(BundleInvalid, match=r"^golden[.]json: contributions miss the log-odds"):
        open_model(read_bundle(changed))


def with_lines(explain: bytes, change: Callable[[Any], None]) -> bytes:
    """Return explain.onnx with the numbers in its tables changed."""
    file = onnx.load_from_string(explain)
    lines = next(tensor for tensor in file.graph.initializer if tensor.name == "lines")
    numbers = onnx.numpy_helper.to_array(lines).copy()
    change(numbers)
    lines.CopyFrom(onnx.numpy_helper.from_array(numbers, "lines"))
    return file.SerializeToString()


@pytest.mark.parametrize("factor", [-1.0, 1.0 + 1e-6, math.nan, math.inf])
def test_a_graph_with_changed_explanation_tables_is_rejected(small: SmallFamily, tmp_path: Path, factor: float) -> None:
    def change(numbers: Any) -> None:
        numbers[numbers != 0.0] *= factor

    explain = with_lines(small.bundle().explain, change)
    changed = write_with_file(small.bundle_folder, tmp_path, "explain.onnx", explain)

    with pytest.raises(BundleInvalid, match=r"^golden[.]json: "):
        open_model(read_bundle(changed))


@pytest.mark.parametrize("name", ["score.onnx", "explain.onnx"])
@pytest.mark.parametrize("content", [b"", b"no graph", b"\x00" * 100])
def test_a_graph_that_cannot_be_opened_is_rejected(
    small: SmallFamily, tmp_path: Path, name: str, content: bytes
) -> None:
    changed = write_with_file(small.bundle_folder, tmp_path, name, content)

    with pytest.raises(BundleInvalid, match="does not open"):
        open_model(read_bundle(changed))


def test_swapped_graphs_are_rejected(small: SmallFamily, tmp_path: Path) -> None:
    changed = write_with_file(small.bundle_folder, tmp_path, "score.onnx", small.bundle().explain)

    with pytest.raises(BundleInvalid):
        open_model(read_bundle(changed))


def test_values_by_name_are_explained_like_the_row_in_the_order_of_the_schema(
    small: SmallFamily,
) -> None:
    model = open_model(small.bundle())
    values = {"years": 3.0, "days_late": 12.0}

    assert model.explain(values) == model.explain_rows(np.array([[12.0, np.nan, np.nan, 3.0]]))[0]
    assert model.explain(values) == model.explain(dict(reversed(values.items())))


def test_explaining_no_rows_returns_no_scores(small: SmallFamily) -> None:
    assert open_model(small.bundle()).explain_rows(np.zeros((0, 4))) == []


def test_the_base_margin_is_the_mean_margin_of_the_baseline_rows(small: SmallFamily) -> None:
    bundle = small.bundle()
    margins = open_model(bundle).scorer.margins(_rows_array(list(bundle.baseline.rows)))

    assert math.fsum(margins) / len(margins) == pytest.approx(bundle.baseline.base_margin, abs=1e-12)
