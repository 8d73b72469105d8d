"""The metrics and the readiness of all workers, which the supervisor reads from the workers and serves on one address.

Each worker serves its own endpoint on a Unix socket in a folder that only the user of the server can read. Every metric
of a worker gets a label `worker` with the number of the worker.
"""

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_ANSWER_SECONDS_MAX = 5.0


def worker_socket(folder: Path, worker: int) -> Path:
    """Return the path of the Unix socket of a worker's endpoint."""
    return folder / f"{worker}.sock"


class WorkerMetrics:
    """Reads the endpoints of all workers. Its methods may be called from any thread."""

    def __init__(self, folder: Path, workers: int) -> None:
        """Create a reader of the sockets in a folder."""
        self._sockets = {worker: worker_socket(folder, worker) for worker in range(workers)}

    def readiness(self) -> Mapping[str, bool]:
        """Return for each service whether all workers that answer are ready; the whole server is not, if none answers."""
        ready: dict[str, bool] = {}
        for _, content in self._fetch("/readyz"):
            for service, is_ready in json.loads(content)["services"].items():
                ready[service] = ready.get(service, True) and is_ready
        return ready or {"": False}

    def metrics(self) -> bytes:
        """Return the metrics of all workers that answer, and for each worker whether it answers."""
        registry = CollectorRegistry()
        registry.register(_Families(self._families()))
        return generate_latest(registry)

    def _families(self) -> list[Metric]:
        """Return the metrics of all workers, by name."""
        up = Metric("grounds_worker_up", "1 if the worker with this number answers, otherwise 0.", "gauge")
        families: dict[str, Metric] = {}
        answers = dict(self._fetch("/metrics"))
        for worker in self._sockets:
            label = {"worker": str(worker)}
            up.add_sample(up.name, label, float(worker in answers))
            for family in text_string_to_metric_families(answers.get(worker, b"").decode()):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples.extend(_add_label(family.samples, label))
        return [up, *families.values()]

    def _fetch(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield the answer of each worker that answers, with the number of the worker."""
        for worker, place in self._sockets.items():
            connection = _UnixConnection(place)
            try:
                connection.request("GET", path)
                yield worker, connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                continue  # the worker is starting, has ended, or hangs
            finally:
                connection.close()


class _Families(Collector):
    """A collector of metrics that were read already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS_MAX)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _add_label(samples: Iterable[Sample], label: Mapping[str, str]) -> Iterator[Sample]:
    """Yield samples with one more label."""
    for sample in samples:
        yield sample._replace(labels={**sample.labels, **label})
