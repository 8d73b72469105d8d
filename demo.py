"""`make demo`: train both models on real data, serve them, ask as the loan desk and as the CRM, review as the auditor.

What is shown comes from customers of the hold-out, which no model has learnt from. Afterwards
`make serve` goes on with what the demo made.
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
LOOKED_AT = 60  # applicants of the hold-out from which the demo picks three
AMOUNT = "120000TWD"
PURPOSE = "Demo: review of a decision"


def main(arguments: list[str]) -> int:
    """Run the demo; with --readme, write its console blocks into the README."""
    if arguments not in ([], ["--readme"]):
        print(__doc__)
        return 0 if arguments in (["--help"], ["-h"]) else 2
    FILES.mkdir(exist_ok=True)
    for family in ("credit", "churn"):
        heading(f"Train {family} on real data")
        echo("training", "fit", f"training/{family}.toml")
        newest = max((path for path in (BUNDLES / family).iterdir() if path.is_dir()), key=created_at)
        echo("server", "activate", newest.name[:12])
    heading("Score every customer for the CRM, load features and run into the server's database")
    echo("training", "score", "training/churn.toml", "--at", "2017-12-01")
    names = ("credit.features", "churn.features", "churn.run")
    echo("server", "load", *(f"files/{name}.parquet" for name in names))
    shown: dict[str, str] = {}
    with serving(FILES / "demo-server.application_log") as address:
        for name, title, transcript in ask(address, FILES / "credit.features.parquet"):
            heading(title)
            print(transcript)
            shown[name] = transcript
    print("\nThe server has drained and stopped. To go on: make serve, then python -m client --help")
    if "--readme" in arguments:
        README.write_text(replace_blocks(README.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def ask(address: str, features: Path) -> Iterator[tuple[str, str, str]]:
    """Ask the server what people ask it; gives (name, title, transcript) of each step."""
    good, middling, bad = applicants(address, features)

    def client(*arguments: str, refused: bool = False) -> str:
        command = ["python", "-m", "client", *arguments]
        return "$ " + shlex.join(command) + "\n" + output(address, *arguments, refused=refused)

    yield "good", "The loan desk asks for a good applicant of the hold-out", client("score", "TW", good, AMOUNT)
    yield "middling", "... a middling one", client("score", "TW", middling, AMOUNT)
    declined = client("score", "TW", bad, AMOUNT, "--locale", "de")
    yield "bad", "... and a bad one, in German", declined
    what_if = client("simulate", "TW", bad, AMOUNT, "--set", "PAY_0=0", "--set", "PAY_2=0")
    yield "simulate", "What if that applicant had paid the last two months on time?", what_if
    ways = client("simulate", "TW", middling, AMOUNT, "--ways")
    yield "ways", "What would lead to approval for the middling one?", ways
    yield "churn", "The CRM pulls the five customers most at risk", client("churn", "top", "US", "--count", "5")
    yield "models", "Which models serve?", client("models")
    yield from review(address, client, features.parent, shown_decision_id(declined))


def review(address: str, client: Callable[..., str], folder: Path, decision_id: str) -> Iterator[tuple[str, str, str]]:
    """Review a decision as the auditor; a real one receives the public key out of band."""
    with Client(address) as asking:
        key = asking.get_checkpoint().verifier_key
        place = asking.get_inclusion_proof(decision_id).record.index
    page = os.path.relpath(folder / "evidence.html", ROOT)
    purpose = ("--purpose", PURPOSE)
    yield (
        "evidence",
        "The auditor reads the evidence of that decision, as one page to print",
        client("evidence", decision_id, *purpose, "--html", page, "--key", key),
    )
    yield (
        "replay",
        "... computes it again with the model and the policy that made it",
        client("replay", decision_id, *purpose),
    )
    with Client(address) as asking:
        first = next(asking.list_churn_risks("US"))
    risk = (first.run_id, "US", first.customer.customer_id)
    yield (
        "risk",
        "... and the risk of the CRM's first customer, in the run that named it",
        client("replay", *risk, *purpose),
    )
    export = os.path.relpath(folder / "demo.log", ROOT)
    fetched = client("export-log", export) + "\n" + client("verify", export, "--key", key)
    yield "audit", "... fetches the log of all these decisions and verifies it", fetched
    copy = flip_bit(folder / "demo.log", place)
    report = client("verify", os.path.relpath(copy, ROOT), "--key", key, refused=True)
    if f"record {place}: " not in report:
        raise SystemExit(f"verify did not name record {place}:\n{report}")
    yield "flipped", f"... and a copy in which one byte of record {place} was flipped", report


def shown_decision_id(transcript: str) -> str:
    """Return the decision_id that a transcript shows."""
    return re.findall(r"^decision ([0-9a-f-]{36}),", transcript, flags=re.MULTILINE)[0]


def flip_bit(export: Path, place: int) -> Path:
    """Copy an exported log, and flip one bit of a record's ciphertext in the copy."""
    head, *lines = export.read_text(encoding="ascii").splitlines()
    record = json.loads(lines[place])
    content = bytearray(base64.b64decode(record["ciphertext"]))
    content[len(content) // 2] ^= 1
    lines[place] = json.dumps({**record, "ciphertext": base64.b64encode(content).decode()})
    copy = export.with_name("demo-flipped.log")
    copy.write_text("\n".join([head, *lines, ""]), encoding="ascii")
    return copy


def applicants(address: str, features: Path) -> tuple[str, str, str]:
    """Pick a good, a middling and a bad applicant of the hold-out, by what-ifs, which keep nothing."""
    table = pq.read_table(features, columns=["customer_id", "sample"]).to_pylist()
    held_out = sorted((row["customer_id"] for row in table if row["sample"] == "HOLD_OUT"), key=int)[:LOOKED_AT]
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
    """Serve on a free port while the block runs; gives the address. The server must stop cleanly."""
    with log.open("w") as lines:
        command = [sys.executable, "-m", "server", "serve"]
        settings = {**os.environ, "GROUNDS_PORT": "0", **environment}
        process = subprocess.Popen(command, cwd=ROOT, stderr=lines, env=settings)
    try:
        yield address_of(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=START_SECONDS_MAX)
    if status != 0:
        raise SystemExit(f"the server ended with status {status}; see {log}")


def address_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says where it listens."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                return str(event["address"])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def output(address: str, *arguments: str, refused: bool = False) -> str:
    """Run the client and give what it prints; its exit status must be 0, or 1 where it is to refuse."""
    command = [sys.executable, "-m", "client", *arguments]
    environment = {**os.environ, "GROUNDS_ADDRESS": address, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != int(refused):
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def echo(*arguments: str) -> None:
    """Show a command and run it."""
    print(f"$ python -m {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)


def heading(title: str) -> None:
    """Show where the demo is."""
    print(f"\n=== {title}\n", flush=True)


def created_at(folder: Path) -> int:
    """Return the time at which a bundle was written."""
    return folder.stat().st_mtime_ns


def replace_blocks(text: str, shown: dict[str, str]) -> str:
    """Replace the console blocks that follow `<!-- demo: NAME -->`."""
    for name, transcript in shown.items():
        pattern = rf"(<!-- demo: {name} -->\n```console\n)(?:.*?\n)??(```)"
        text = re.sub(pattern, lambda found, new=transcript: f"{found[1]}{new}\n{found[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (subprocess.CalledProcessError, CallFailed) as error:
        sys.exit(f"the demo failed: {error}")
