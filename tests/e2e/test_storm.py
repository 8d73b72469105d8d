"""1,000 duplicates of 100 requests, from two processes to two servers on one database, are 100 decisions."""

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

REQUESTS, DUPLICATES, AT_ONCE = 100, 10, 32


def request_bytes(number: int, order: random.Random) -> bytes:
    """Write request `number`, the entries of its map in an order of its own, as another language would."""
    fixed = score_request(
        request_id=f"00000000-0000-4000-8000-{number:012d}", customer=customer("DE", f"C{2 * (number % 7):05d}")
    )
    values = numbers(turnover=1000.0 + number, years=3.0 + number % 5)
    entries = [field(4, field(1, name.encode()) + field(2, value)) for name, value in values.items()]
    order.shuffle(entries)
    return fixed.SerializeToString() + b"".join(entries)


async def storm(address: str, seed: int) -> dict[str, list[str]]:
    """Send every request ten times, in any order, 32 at once; return the answers by request."""
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    asked = [number for number in range(REQUESTS) for _ in range(DUPLICATES // 2)]
    order.shuffle(asked)
    answers: dict[str, list[str]] = {}
    free = asyncio.Semaphore(AT_ONCE)
    async with grpc.aio.insecure_channel(address) as channel:
        score = channel.unary_unary("/grounds.credit.v1.CreditService/ScoreCredit")

        async def ask(number: int) -> None:
            async with free:
                answer = await score(request_bytes(number, order), timeout=60, wait_for_ready=True)
            answers.setdefault(str(number), []).append(answer.hex())

        await asyncio.gather(*map(ask, asked))
    return answers


def test_duplicates_from_two_processes_to_two_servers_are_one_decision_each(config: Path) -> None:
    servers = [start(config, number) for number in range(2)]
    try:
        clients = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.test_storm", server.address, str(seed)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for seed, server in enumerate(servers)
        ]
        answers = [json.loads(client.communicate(timeout=100)[0]) for client in clients]
    finally:
        for server in servers:
            server.stop()
    database = Database(read_settings(config).database)
    with database.reading() as connection:
        decisions = connection.execute(select(func.count()).select_from(RECORDS)).scalar_one()
    database.close()

    assert sum(len(given) for answer in answers for given in answer.values()) == REQUESTS * DUPLICATES
    assert decisions == REQUESTS
    for number in map(str, range(REQUESTS)):
        assert len({*answers[0][number], *answers[1][number]}) == 1


if __name__ == "__main__":
    print(json.dumps(asyncio.run(storm(sys.argv[1], int(sys.argv[2])))))  # noqa: T201 - to the test that started it
