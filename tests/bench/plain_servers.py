"""Plain servers, for comparison: `python -m tests.bench.plain_servers KIND BUNDLE_FOLDER FEATURES`.

They implement the same gRPC contract.

| KIND | answer |
|---|---|
| `empty` | bytes of the size of our answers, from a `grpc.aio` handler that does nothing: the limit of the transport |
| `pred_contrib` | score by LightGBM's `predict`, explanation by `pred_contrib` |
| `shap` | score by LightGBM's `predict`, explanation by `shap`'s interventional TreeExplainer with 100 background rows |

The last two are written as most teams would write them: gRPC's thread pool, all features in a dictionary, one thread per
prediction. They apply no policy, return no reasons in words, and record nothing.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import lightgbm
import numpy as np
import pyarrow.parquet as pq
import shap

from grounds.credit.v1 import credit_pb2 as pb
from grounds.credit.v1 import credit_pb2_grpc
from grounds.explain.v1 import explain_pb2
from models.bundle import read_bundle
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds
from tests.bench.subjects import BACKGROUND_ROWS
from tests.oracles import FloatArray

EMPTY, PRED_CONTRIB, SHAP = "empty", "pred_contrib", "shap"
METHOD = "/grounds.credit.v1.CreditService/ScoreCredit"
ANSWER_BYTES = 2100  # about the size of an answer of the released credit model
_THREADS = 8
_Explainer = Callable[[FloatArray], tuple[float, list[float]]]  # row -> base margin, contributions to the margin


class PlainServicer(credit_pb2_grpc.CreditServiceServicer):
    """Scores and explains customers whose features are in memory."""

    def __init__(self, bundle_folder: Path, features: Path, kind: str) -> None:
        """Read the model and the features.

        Args:
            bundle_folder: Folder of the released bundle.
            features: Feature file with all customers.
            kind: PRED_CONTRIB or SHAP.
        """
        self._bundle = read_bundle(bundle_folder)
        names = self._bundle.schema.names
        table = pq.read_table(features).to_pandas()
        rows = table[list(names)].to_numpy(dtype=np.float64)
        self._rows = dict(zip(table["customer_id"], rows, strict=True))
        self._booster = lightgbm.Booster(model_str=(bundle_folder / "model.txt").read_text(encoding="utf-8"))
        baseline = np.array(self._bundle.baseline.rows, dtype=np.float64)
        self._explain = pred_contrib(self._booster) if kind == PRED_CONTRIB else interventional(self._booster, baseline)

    def ScoreCredit(self, request: pb.ScoreCreditRequest, context: grpc.ServicerContext) -> pb.ScoreCreditResponse:
        """Return the score of a customer with the contribution of each feature."""
        row = self._rows.get(request.customer.customer_id)
        if row is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown customer")
        card = self._bundle.scorecard
        margin = float(self._booster.predict(row[np.newaxis], raw_score=True, num_threads=1)[0])
        base, parts = self._explain(row[np.newaxis])
        log_odds = log_odds_from_margin(card, margin)
        pd = pd_from_log_odds(log_odds)
        output = pb.ModelOutput(
            bundle_id=self._bundle.bundle_id, log_odds=log_odds, pd=pd, grade=grade_from_pd(card, pd)
        )
        contributions = [
            explain_pb2.Contribution(
                feature=feature.name,
                group=feature.group,
                value=explain_pb2.FeatureValue(number=value),
                log_odds=card.slope * part,
            )
            for feature, value, part in zip(self._bundle.schema.features, row.tolist(), parts, strict=True)
        ]
        explanation = explain_pb2.Explanation(base_value=log_odds_from_margin(card, base), contributions=contributions)
        assessment = pb.CreditAssessment(model_output=output, explanation=explanation)
        decision = pb.CreditDecision(
            customer=request.customer, requested_amount=request.requested_amount, assessment=assessment
        )
        return pb.ScoreCreditResponse(credit_decision=decision)


def pred_contrib(booster: lightgbm.Booster) -> _Explainer:
    """Return an explainer by LightGBM's own contributions, whose last column is the base."""

    def explain(row: FloatArray) -> tuple[float, list[float]]:
        *parts, base = booster.predict(row, pred_contrib=True, num_threads=1)[0].tolist()
        return base, parts

    return explain


def interventional(booster: lightgbm.Booster, baseline: FloatArray) -> _Explainer:
    """Return an explainer by `shap`, which compares with 100 rows of the baseline."""
    background = shap.maskers.Independent(baseline[:BACKGROUND_ROWS], max_samples=BACKGROUND_ROWS)
    explainer = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
    base = float(np.ravel(explainer.expected_value)[-1])
    return lambda row: (base, explainer.shap_values(row, check_additivity=False)[0].tolist())


def serve_plain(kind: str, bundle_folder: Path, features: Path) -> None:
    """Serve from gRPC's thread pool until the process is terminated."""
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    credit_pb2_grpc.add_CreditServiceServicer_to_server(PlainServicer(bundle_folder, features, kind), server)
    _report_address(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


async def serve_empty() -> None:
    """Serve constant bytes from `grpc.aio` until the process is terminated."""
    answer = bytes(ANSWER_BYTES)

    async def call(_request: bytes, _context: Any) -> bytes:
        return answer

    server = grpc.aio.server()
    service, name = METHOD[1:].split("/")
    handlers = {name: grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    _report_address(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


def _report_address(port: int) -> None:
    """Report the address as the server's application log does."""
    sys.stderr.write(json.dumps({"event": "serving", "address": f"127.0.0.1:{port}"}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    kind, bundle_folder, features = sys.argv[1:]
    if kind == EMPTY:
        asyncio.run(serve_empty())
    else:
        serve_plain(kind, Path(bundle_folder), Path(features))
