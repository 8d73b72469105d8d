"""A page of evidence equals what the service returns, field by field: the test walks the message generically."""

import base64
import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from console.app import create_app
from console.connections import SharedClient
from grounds.audit.v1 import audit_pb2
from grounds_client import Amount, Client
from tests.console.browsing import get_page
from tests.console.conftest import Pages


class RememberingClient(Client):
    """A client that remembers the evidence that it received, because every reading is another record."""

    def get_evidence(self, decision_id: str, purpose: str) -> audit_pb2.Evidence:
        self.received: Message = super().get_evidence(decision_id, purpose)
        return self.received

    def get_churn_evidence(
        self, run_id: str, market: str, customer_id: str, purpose: str, *, locale: str = ""
    ) -> audit_pb2.ChurnEvidence:
        self.received = super().get_churn_evidence(run_id, market, customer_id, purpose, locale=locale)
        return self.received


async def get_evidence_page(client: Client, path: str, query: str = "") -> str:
    """Return a page of evidence of a console in this process."""
    app = create_app(SharedClient(client), None, ["localhost"])
    status, page = await get_page(app, path, query, cookie="purpose=:Review")
    assert status == 200
    return page


def flatten(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of a message in the form of JSON, with their paths."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from flatten(each, f"{path}.{name}")
    elif isinstance(value, list):
        for position, each in enumerate(value):
            yield from flatten(each, f"{path}[{position}]")
    else:
        yield path, value


def shown_fields(page: str) -> dict[str, str]:
    """Return the table of all fields by path, with a point before each key of a map."""
    text = page.partition('class="fields-table"')[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th><td data-label="value">(.*?)</td>', text, re.DOTALL)
    assert len(rows) == len(re.findall("<tr>", text)) - 1
    return {"." + re.sub(r'\["([^"]*)"\]', r".\1", html.unescape(name)): html.unescape(value) for name, value in rows}


def is_shown(value: Any, shown: str) -> bool:
    """Return whether a shown text is exactly a value in the form of JSON."""
    if value == {}:
        return shown == "present"
    if isinstance(value, bool):
        return shown == str(value).lower()
    if isinstance(value, float) or value in {"NaN", "Infinity", "-Infinity"}:
        return repr(float(shown)) == repr(float(value))
    if isinstance(value, int):
        return int(shown) == value
    return shown == value or (set(shown) <= set("0123456789abcdef") and bytes.fromhex(shown) == base64.b64decode(value))


@pytest.mark.parametrize("number", [0, 1, 2, 3])
async def test_the_page_of_a_decision_has_every_field_of_its_evidence(pages: Pages, number: int) -> None:
    client = RememberingClient(pages.address)
    with client:
        if number < 3:
            page = await get_evidence_page(client, f"/evidence/{pages.decision_ids[number]}")
        else:
            risk = next(client.list_churn_risks("DE"))
            query = f"run={risk.run_id}&customer={risk.customer.customer_id}"
            page = await get_evidence_page(client, "/churn/DE/evidence", query)
        expected = dict(flatten(MessageToDict(client.received, preserving_proto_field_name=True)))
    shown = shown_fields(page)

    assert shown.keys() == expected.keys()
    assert {path: (value, shown[path]) for path, value in expected.items() if not is_shown(value, shown[path])} == {}
    assert len(shown) > 200


async def test_a_field_that_differs_is_found(pages: Pages) -> None:
    client = RememberingClient(pages.address)
    with client:
        page = await get_evidence_page(client, f"/evidence/{pages.decision_ids[0]}")
        expected = dict(flatten(MessageToDict(client.received, preserving_proto_field_name=True)))
    shown = shown_fields(page)
    log_odds = ".decision.assessment.model_output.log_odds"

    assert not is_shown(float(expected[log_odds]) + 1e-12, shown[log_odds])  # type: ignore[arg-type] # a number
    assert str(Amount.parse("1000EUR").value) == shown[".decision.requested_amount.units"]
