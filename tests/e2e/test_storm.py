"""Duplicate requests at the same time yield one decision per request, and all duplicates receive the same answer.

Two client processes each send every one of 100 requests five times, in random order. Each client calls a server of its own;
both servers use the same database.
"""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import grpc
from sqlalchemy import func, select

from server.config import read_settings
from server.stores.database import Database
from server.stores.tables import RECORDS
from tests.conftest import ROOT
from tests.e2e.processes import start
from tests.server.requests import customer, field, numbers, score_request

CLIENTS = 2
REQUESTS = 100  # distinct requests
DUPLICATES = 5  # calls that each client makes for each request
CONCURRENT_CALLS = 32  # calls that each client makes at the same time


def request_bytes(number: int, random_: random.Random) -> bytes:
    """Return the bytes of a request with its map entries in random order, because protobuf libraries write maps in any order."""
    without_features = score_request(
        request_id=f"00000000-0000-4000-8000-{number:012d}", customer=customer("DE", f"C{2 * (number % 7):05d}")
    )
    values = numbers(turnover=1000.0 + number, years=3.0 + number % 5)
    entries = [field(4, field(1, name.encode()) + field(2, value)) for name, value in values.items()]
    random_.shuffle(entries)
    return without_features.SerializeToString() + b"".join(entries)


async def send_duplicates(address: str, seed: int) -> dict[str, list[str]]:
    """Send every request DUPLICATES times in random order; return the answers in hexadecimal, by request number."""
    random_ = random.Random(seed)  # noqa: S311 - draws an order, not a secret
    order = [number for number in range(REQUESTS) for _ in range(DUPLICATES)]
    random_.shuffle(order)
    answers: dict[str, list[str]] = {}
    slots = asyncio.Semaphore(CONCURRENT_CALLS)
    async with grpc.aio.insecure_channel(address) as channel:
        score = channel.unary_unary("/grounds.credit.v1.CreditService/ScoreCredit")

        async def call(number: int) -> None:
            async with slots:
                answer = await score(request_bytes(number, random_), timeout=60, wait_for_ready=True)
            answers.setdefault(str(number), []).append(answer.hex())

        await asyncio.gather(*map(call, order))
    return answers


def test_duplicates_from_two_clients_to_two_servers_yield_one_decision_per_request(config: Path) -> None:
    servers = [start(config, number) for number in range(CLIENTS)]
    try:
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.test_storm", server.address, str(seed)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for seed, server in enumerate(servers)
        ]
        answers_by_client = [json.loads(client.communicate(timeout=100)[0]) for client in clients]
    finally:
        for server in servers:
            server.stop()
    database = Database(read_settings(config).database)
    with database.reading() as connection:
        decisions = connection.execute(select(func.count()).where(RECORDS.c.kind == "CREDIT_DECISION")).scalar_one()
    database.close()

    assert all(len(answers) == DUPLICATES for by_request in answers_by_client for answers in by_request.values())
    assert decisions == REQUESTS
    for number in map(str, range(REQUESTS)):
        assert len({answer for by_request in answers_by_client for answer in by_request[number]}) == 1


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send_duplicates(sys.argv[1], int(sys.argv[2])))))  # noqa: T201 - the test reads it
