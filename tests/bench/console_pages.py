"""Benchmark of the pages of the console among a million records, as a browser gets them."""

import http.client
import urllib.parse
from pathlib import Path
from typing import Any

from tests.bench.audit import Say, draw_decisions, filled_log, serve_log, time_calls
from tests.console.serving import open_console

PAGES = 300
LISTS = 30
PURPOSE = "purpose=:Benchmark"


def measure_pages(
    bundle_folder: Path, features: Path, count: int, say: Say, kept: Path | None = None
) -> dict[str, Any]:
    """Generate `count` records on SQLite, and time pages of decisions at random positions.

    The arguments are those of `measure_audit`.
    """
    with (
        filled_log(bundle_folder, features, count, "SQLite", say, kept) as (config, sizes),
        serve_log(config) as address,
        open_console("--address", address) as url,
    ):
        names = draw_decisions(config, 2 * PAGES)
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

        def get(path: str) -> None:
            connection.request("GET", path, headers={"cookie": PURPOSE})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200 or b"</html>" not in content:
                raise ValueError(f"{path}: status {answer.status}")

        half = len(names) // 2
        pages = {
            "evidence of a decision, with proof and replay": [f"/evidence/{name}" for name in names[:half]],
            "decision, for the loan desk": [f"/decisions/{name}" for name in names[half:]],
            "the newest 50 decisions": ["/decisions"] * LISTS,
            "first page": ["/"] * LISTS,
        }
        return sizes | {"pages": {name: time_calls(get, [(path,) for path in paths]) for name, paths in pages.items()}}
