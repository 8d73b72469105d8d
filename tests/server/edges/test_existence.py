"""Nobody without the right learns whether a customer exists: the answer is the same, and no store is asked for it."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.config import Settings
from tests.conftest import Serving
from tests.server.edges.identity.certificates import AUDITOR, AUTHORITY, CRM, LOAN_DESK, encode_token, write_key_set
from tests.server.edges.test_request_cost import METHODS
from tests.server.requests import call_error
from tests.server.servers import block_store_threads, serve

KEY = ed25519.Ed25519PrivateKey.generate()
ISSUER = "https://issuer.example.com"
NOBODY = "spiffe://example.com/nobody"
CREDIT, CHURN, AUDIT, MODEL = (
    f"/grounds.{name.lower()}.v1.{name}Service/" for name in ("Credit", "Churn", "Audit", "Model")
)
# Patterns of the methods that each caller of AUTHORITY may call.
RIGHTS = {
    LOAN_DESK: f"{CREDIT}.*|{MODEL}(ListModels|GetModel)",
    CRM: f"{CHURN}(Get|BatchGet|List|Record).*|{MODEL}(ListModels|GetModel)",
    AUDITOR: f"{AUDIT}.*|{CREDIT}GetPolicy|{MODEL}.*",
    NOBODY: "",
    None: "",
}
# LOAN_DESK and AUDITOR may ask only about DE. The elements of a batch have errors of their own, tested in test_refusals.
RESTRICTED = (LOAN_DESK, AUDITOR)
KNOWN, UNKNOWN = "C00000", "NOBODY"


@pytest.fixture
async def token_serving(small_settings: Settings, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on loopback with bearer tokens."""
    (tmp_path / "authority.toml").write_text(AUTHORITY)
    changes: dict[str, Any] = {
        "authority": tmp_path / "authority.toml",
        "jwt_keys": str(write_key_set(tmp_path / "keys.json", {"k1": KEY})),
        "jwt_issuer": ISSUER,
        "jwt_audience": "grounds",
    }
    async with serve(small_settings.model_copy(update=changes)) as serving:
        yield serving


_ATTEMPTS_MAX = 5


def metadata(caller: str | None) -> list[tuple[str, str]]:
    """Return the metadata of a caller; None is a caller without a token."""
    if caller is None:
        return []
    claims = {"iss": ISSUER, "aud": "grounds", "sub": caller, "iat": time.time() - 60, "exp": time.time() + 600}
    return [("authorization", f"Bearer {encode_token({'alg': 'EdDSA', 'kid': 'k1'}, claims, KEY)}")]


def fill(message: Message, market: str, customer_id: str) -> bool:
    """Set the market and the customer wherever a message has these fields; return whether it is about customers."""
    is_about_customers = False
    for field in message.DESCRIPTOR.fields:
        if field.name in ("market", "customer_id") and field.cpp_type == field.CPPTYPE_STRING:
            setattr(message, field.name, market if field.name == "market" else customer_id)
        elif field.name in ("customer", "customers", "filter", "requests"):
            value = getattr(message, field.name)
            fill(value.add() if field.is_repeated else value, market, customer_id)
            is_about_customers = True
    return is_about_customers


async def answer(serving: Serving, method: str, caller: str | None, message: Message) -> tuple[str, str, str]:
    """Return the code, the reason and the text of a call that fails."""
    multi_callable: Any = serving.channel.stream_stream(method)
    for _ in range(_ATTEMPTS_MAX):
        call = multi_callable(iter([message.SerializeToString()]), metadata=metadata(caller), timeout=30)
        # The server may end the call before gRPC has sent the message, and gRPC then reports an error of its own.
        if await call.trailing_metadata():
            break
    error = await call_error(call.read())
    return error.code.name, error.reason, error.message


async def test_a_caller_without_the_right_gets_the_same_answer_for_every_customer_while_no_store_answers(
    token_serving: Serving,
) -> None:
    """All threads that ask the stores are blocked, so an answer cannot depend on the content or the speed of a store."""
    application, checked = token_serving.application, 0
    with ExitStack() as blocked:
        for threads in (application.threads, application.batch_threads, application.readers):
            blocked.enter_context(block_store_threads(token_serving, threads))
        for method, descriptor in METHODS.items():
            if "grpc.health" in method:
                continue
            for caller, rights in RIGHTS.items():
                is_allowed = re.fullmatch(rights, method) is not None
                answers = set()
                for customer_id in (KNOWN, UNKNOWN):
                    message = GetMessageClass(descriptor.input_type)()
                    is_about_customers = fill(message, "FR" if is_allowed else "DE", customer_id)
                    if is_allowed and (caller not in RESTRICTED or not is_about_customers or "Batch" in method):
                        continue
                    answers.add(await answer(token_serving, method, caller, message))
                if not answers:
                    continue
                ((code, reason, _),) = answers
                expected = ("PERMISSION_DENIED", "MARKET_NOT_ALLOWED" if is_allowed else "METHOD_NOT_ALLOWED")
                assert (code, reason) == (expected if caller else ("UNAUTHENTICATED", "CALLER_NOT_AUTHENTICATED")), (
                    method,
                    caller,
                )
                checked += 1
    assert checked > 4 * 27
