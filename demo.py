"""`make demo`: train and serve both models on real data, call the server as loan desk and CRM, and audit a decision.

The demo shows customers of the hold-out, who were not used in training. Afterwards `make serve` starts a server with
the models, features and predictions that the demo created.
"""

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from grounds_client import Amount, CallFailed, Client

ROOT = Path(__file__).resolve().parent
BUNDLES, FILES = ROOT / "models" / "bundles", ROOT / "files"
README = ROOT / "README.md"
START_SECONDS_MAX = 30
CANDIDATES = 60  # applicants of the hold-out among whom the demo chooses three
AMOUNT = "120000TWD"
PURPOSE = "Demo: review of a decision"


def main(arguments: list[str]) -> int:
    """Run the demo. With --readme, also write its transcripts into the console blocks of the README.

    With --console, only serve what an earlier run made, with the console in the browser.
    """
    if arguments == ["--console"]:
        with serving(FILES / "console-server.log") as address:
            run_module("console", "--address", address, "--papers", str(FILES / "papers"))
        return 0
    if arguments not in ([], ["--readme"]):
        print(__doc__)
        return 0 if arguments in (["--help"], ["-h"]) else 2
    FILES.mkdir(exist_ok=True)
    for family in ("credit", "churn"):
        print_heading(f"Train {family} on real data")
        run_module("training", "fit", f"training/{family}.toml")
        newest = max((path for path in (BUNDLES / family).iterdir() if path.is_dir()), key=modification_time)
        run_module("server", "activate", newest.name[:12])
    print_heading("Score every customer for the CRM, and load the features and the run into the server's database")
    run_module("training", "score", "training/churn.toml", "--at", "2017-12-01")
    names = ("credit.features", "churn.features", "churn.run")
    run_module("server", "load", *(f"files/{name}.parquet" for name in names))
    shown: dict[str, str] = {}
    with serving(FILES / "demo-server.log") as address:
        for name, title, transcript in run_steps(address, FILES / "credit.features.parquet"):
            print_heading(title)
            print(transcript)
            shown[name] = transcript
    print("\nThe server has drained and stopped. Next: make serve, and in another shell .venv/bin/grounds --help")
    print("To type the commands above, first run: source .venv/bin/activate")
    if "--readme" in arguments:
        README.write_text(replace_blocks(README.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def run_steps(address: str, features: Path) -> Iterator[tuple[str, str, str]]:
    """Run the commands of the loan desk, the CRM and the auditor; yield (name, title, transcript) of each step."""
    good, middling, bad = choose_applicants(address, features)

    def client(*arguments: str, must_fail: bool = False) -> str:
        command = ["python", "-m", "client", *arguments]
        return "$ " + shlex.join(command) + "\n" + run_client(address, *arguments, must_fail=must_fail)

    yield "good", "The loan desk scores a good applicant of the hold-out", client("score", "TW", good, AMOUNT)
    yield "middling", "... a middling one", client("score", "TW", middling, AMOUNT)
    declined = client("score", "TW", bad, AMOUNT, "--locale", "de")
    yield "bad", "... and a bad one, in German", declined
    what_if = client("simulate", "TW", bad, AMOUNT, "--set", "PAY_0=0", "--set", "PAY_2=0")
    yield "simulate", "What if that applicant had paid the last two months on time?", what_if
    ways = client("simulate", "TW", middling, AMOUNT, "--ways")
    yield "ways", "What would lead to approval for the middling one?", ways
    yield "churn", "The CRM pulls the five customers most at risk", client("churn", "top", "US", "--count", "5")
    yield "models", "Which models serve?", client("models")
    yield from run_review(address, client, features.parent, parse_decision_id(declined))


def run_review(
    address: str, client: Callable[..., str], folder: Path, decision_id: str
) -> Iterator[tuple[str, str, str]]:
    """Review a decision as an auditor.

    The demo reads the public key from the server; an auditor receives it out of band.
    """
    with Client(address) as auditor:
        key = auditor.get_checkpoint().verifier_key
        index = auditor.get_inclusion_proof(decision_id).record.index
    page = os.path.relpath(folder / "evidence.html", ROOT)
    purpose = ("--purpose", PURPOSE)
    yield (
        "evidence",
        "The auditor reads the evidence of that decision, as one page to print",
        client("evidence", decision_id, *purpose, "--html", page, "--key", key),
    )
    yield (
        "replay",
        "... recomputes that decision with its own model and policy",
        client("replay", decision_id, *purpose),
    )
    with Client(address) as auditor:
        first = next(auditor.list_churn_risks("US"))
    risk = (first.run_id, "US", first.customer.customer_id)
    yield (
        "risk",
        "... and the churn risk of the first customer on the CRM's list",
        client("replay", *risk, *purpose),
    )
    export = os.path.relpath(folder / "demo.log", ROOT)
    exported = client("export-log", export) + "\n" + client("verify", export, "--key", key)
    yield "audit", "... exports the record log with all these decisions and verifies it", exported
    copy = flip_bit(folder / "demo.log", index)
    report = client("verify", os.path.relpath(copy, ROOT), "--key", key, must_fail=True)
    if f"record {index}: " not in report:
        raise SystemExit(f"verify did not report record {index}:\n{report}")
    yield "flipped", f"... and a copy in which one bit of record {index} was flipped", report


def parse_decision_id(transcript: str) -> str:
    """Return the decision_id in a transcript."""
    return re.findall(r"^decision ([0-9a-f-]{36}),", transcript, flags=re.MULTILINE)[0]


def flip_bit(export: Path, index: int) -> Path:
    """Copy an exported log, flip one bit of a record's ciphertext in the copy, and return the path of the copy."""
    head, *lines = export.read_text(encoding="ascii").splitlines()
    record = json.loads(lines[index])
    content = bytearray(base64.b64decode(record["ciphertext"]))
    content[len(content) // 2] ^= 1
    lines[index] = json.dumps({**record, "ciphertext": base64.b64encode(content).decode()})
    copy = export.with_name("demo-flipped.log")
    copy.write_text("\n".join([head, *lines, ""]), encoding="ascii")
    return copy


def choose_applicants(address: str, features: Path) -> tuple[str, str, str]:
    """Choose a good, a middling and a bad applicant of the hold-out by their pd in what-ifs, which record nothing."""
    table = pq.read_table(features, columns=["customer_id", "sample"]).to_pylist()
    held_out = sorted((row["customer_id"] for row in table if row["sample"] == "HOLD_OUT"), key=int)[:CANDIDATES]
    with Client(address) as client:
        pds = {}
        for customer_id in held_out:
            answer = client.simulate_credit("TW", customer_id, Amount.parse(AMOUNT))
            pds[customer_id] = answer.known.model_output.pd
            policy = answer.known.recommendation
    middle = (policy.approve_max_pd + policy.refer_max_pd) / 2
    return (
        min(pds, key=lambda customer_id: pds[customer_id]),
        min(pds, key=lambda customer_id: abs(pds[customer_id] - middle)),
        max(pds, key=lambda customer_id: pds[customer_id]),
    )


@contextmanager
def serving(log: Path, **environment: str) -> Iterator[str]:
    """Run a server on a free port while the block runs; yield its address. The server must stop with status 0."""
    with log.open("w") as lines:
        command = [sys.executable, "-m", "server", "serve"]
        settings = {**os.environ, "GROUNDS_PORT": "0", **environment}
        process = subprocess.Popen(command, cwd=ROOT, stderr=lines, env=settings)
    try:
        yield wait_for_address(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=START_SECONDS_MAX)
    if status != 0:
        raise SystemExit(f"the server ended with status {status}; see {log}")


def wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the application log reports the address of the server; return the address."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                return str(event["address"])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def run_client(address: str, *arguments: str, must_fail: bool = False) -> str:
    """Run the client and return its output. Its exit status must be 0, or 1 if `must_fail` is set."""
    command = [sys.executable, "-m", "client", *arguments]
    environment = {**os.environ, "GROUNDS_ADDRESS": address, "NO_COLOR": "1"}
    completed = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if completed.returncode != int(must_fail):
        raise subprocess.CalledProcessError(completed.returncode, command, completed.stdout, completed.stderr)
    return "\n".join(line.rstrip() for line in completed.stdout.strip("\n").splitlines())


def run_module(*arguments: str) -> None:
    """Print a command and run it."""
    print(f"$ python -m {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)


def print_heading(title: str) -> None:
    """Print the title of the next step."""
    print(f"\n=== {title}\n", flush=True)


def modification_time(folder: Path) -> int:
    """Return the time at which a bundle was written."""
    return folder.stat().st_mtime_ns


def replace_blocks(text: str, shown: dict[str, str]) -> str:
    """Return the text with the console blocks after `<!-- demo: NAME -->` replaced by the transcripts."""
    for name, transcript in shown.items():
        pattern = rf"(<!-- demo: {name} -->\n```console\n)(?:.*?\n)??(```)"
        text = re.sub(pattern, lambda found, new=transcript: f"{found[1]}{new}\n{found[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (subprocess.CalledProcessError, CallFailed) as error:
        sys.exit(f"the demo failed: {error}")
