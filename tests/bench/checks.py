"""Benchmark of one server with and without its checks against failing disks, forks, wrong clocks and floods."""

import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm

import demo
from models.bundle import read_bundle
from tests.bench.load_generator import generate_load
from tests.bench.plain_servers import METHOD
from tests.bench.record import databases, log_events, prepare_server
from tests.bench.serving import AnswerCheck, cpu_seconds
from tests.conftest import ROOT

IN_FLIGHT = 32
_WARM_UP_SECONDS = 3.0
# Whether the checks are on, by slice. In this order, a machine that becomes slower affects both states equally.
_ORDER = (True, False, False, True)


def measure_checks(
    bundle_folder: Path, features: Path, seconds: float, pairs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure one server on each database while its checks are switched on and off in short slices.

    Args:
        bundle_folder: Folder of the released credit bundle.
        features: Feature file with all customers.
        seconds: Duration of a slice.
        pairs: Number of pairs of adjacent slices.
        say: Shows the progress.
    """
    booster = lightgbm.Booster(model_str=(bundle_folder / "model.txt").read_text(encoding="utf-8"))
    requests = AnswerCheck(read_bundle(bundle_folder), booster, features).requests()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, url in databases(Path(name)):
            folder = Path(name) / kind
            folder.mkdir()
            config = prepare_server(folder, url, bundle_folder, features)
            say(f"{kind}: {pairs} pairs of {seconds:g} s")
            found[kind] = _figures(_measure_slices(config, requests, seconds, pairs))
    return {"seconds": seconds, "pairs": pairs, "databases": found}


def _measure_slices(
    config: Path, requests: Iterator[bytes], seconds: float, pairs: int
) -> list[tuple[bool, float, float]]:
    """Return, for each slice, whether the checks are on, decisions per second, and milliseconds of CPU per decision."""
    log = config.with_name("server.log")
    with log.open("w") as lines:
        command = [sys.executable, "-m", "tests.bench.switched_server", str(config)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=lines)
    slices = []
    try:
        address = demo.wait_for_address(process, log)
        generate_load(address, METHOD, requests, in_flight=IN_FLIGHT, seconds=_WARM_UP_SECONDS)
        are_on, switches = True, 0
        for wanted in itertools.islice(itertools.cycle(_ORDER), 2 * pairs):
            if are_on != wanted:
                process.send_signal(signal.SIGUSR1)
                are_on, switches = wanted, switches + 1
            before = cpu_seconds(process.pid)
            answers = generate_load(address, METHOD, requests, in_flight=IN_FLIGHT, seconds=seconds)
            used = cpu_seconds(process.pid) - before
            slices.append((are_on, len(answers) / seconds, used / len(answers) * 1e3))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(demo.START_SECONDS_MAX)
    states = [event["are_on"] for event in log_events(log) if event["event"] == "checks"]
    assert states == [number % 2 == 1 for number in range(switches)], "a switch was lost"
    return slices


def _figures(slices: list[tuple[bool, float, float]]) -> dict[str, Any]:
    """Return medians, and for each pair the ratio of the slice with checks to the slice without."""
    pairs = [sorted(pair, reverse=True) for pair in zip(slices[::2], slices[1::2], strict=True)]
    throughput = sorted(on[1] / off[1] for on, off in pairs)
    cpu = sorted(on[2] / off[2] for on, off in pairs)
    return {
        "a_second": {
            str(are_on).lower(): statistics.median(each[1] for each in slices if each[0] == are_on)
            for are_on in (True, False)
        },
        "throughput_ratio": statistics.median(throughput),
        "throughput_interval": _interval_of_median(throughput),
        "cpu_ratio": statistics.median(cpu),
        "cpu_interval": _interval_of_median(cpu),
    }


def _interval_of_median(ordered: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by ranks, which assumes nothing about the distribution.

    The ranks are those of the normal approximation of the binomial distribution with probability 1/2.
    """
    count = len(ordered)
    rank = max(0, int((count - 1.96 * count**0.5) / 2))
    return ordered[rank], ordered[count - 1 - rank]
