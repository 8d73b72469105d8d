"""Requests to the HTTP endpoint for probes and metrics."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from server.application import Application


def fetch(address: str, path: str) -> tuple[int, bytes]:
    """Return the status and the content of an HTTP answer."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def get(application: Application, path: str) -> tuple[int, bytes]:
    """Return the status and the content of an answer of a server in this process."""
    assert application.endpoint is not None
    return await asyncio.to_thread(fetch, application.endpoint.address, path)


async def get_json(application: Application, path: str) -> tuple[int, Any]:
    """Return the status and the decoded JSON of an answer of a server in this process."""
    status, content = await get(application, path)
    return status, json.loads(content)
