"""Performs a cycle: data checks, fit, comparison with the serving bundle, signature, activation, scoring run, load, retirement.

Each completed step is recorded in the journal. A cycle that was interrupted at any point continues when it is started again.
"""

import datetime as dt
import enum
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models.bundle import Bundle, read_bundle
from models.catalog import find_bundle, read_active
from training.commands.release_steps import FamilyRows, read_family_rows, show_release
from training.commands.score import score_customers
from training.commands.sign import sign_released_bundle
from training.console import Console
from training.cycle.comparison import ModelComparison, compare_bundles
from training.cycle.data_checks import check_data
from training.cycle.flow import Flow, ScoringSettings
from training.cycle.journal import CycleJournal, earlier_bundles
from training.errors import DataInvalid, ModelRejected, SpecInvalid
from training.release.model_release import release_model
from training.spec import Spec, read_spec, spec_digest
from training.spec.relative_dates import resolve_day

_SENTENCES_MAX = 3  # the failed checks that the sentence of a result lists
_SERVER = (sys.executable, "-m", "server")


class CycleResult(enum.Enum):
    """The result of a cycle, with the exit status of the command."""

    DONE = 0
    NOT_PROPOSED = 3
    DATA_REFUSED = 4


@dataclass(slots=True)
class CycleFindings:
    """What a cycle found, for the page and for the summary.

    Attributes:
        sentence: The result in one sentence.
        checks: The facts of the data checks.
        comparisons: The facts of the comparison with each bundle that serves now.
        steps: What each step did, in order.
    """

    sentence: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)


class Cycle:
    """One cycle of a flow.

    Attributes:
        findings: What the cycle has found so far.
        journal: The completed steps.
    """

    def __init__(self, flow: Flow, flow_file: Path, on: dt.date, console: Console) -> None:
        """Open the journal of the cycle.

        Args:
            flow: The flow.
            flow_file: The file of the flow.
            on: The day of the cycle, to which relative dates refer.
            console: Shows the progress.

        Raises:
            SpecInvalid: `score.at` does not suit the spec.
            DataInvalid: The journal cannot be continued.
        """
        self._flow, self._flow_file, self._on, self._console = flow, flow_file, on, console
        if flow.score is not None:
            self._check_scoring(flow.score)
        digest = hashlib.sha256(flow_file.read_bytes() + spec_digest(flow.spec).encode()).hexdigest()
        self.journal = CycleJournal(flow.cycles, on, digest)
        self.findings = CycleFindings()

    @cached_property
    def spec(self) -> Spec:
        """Return the spec, with its relative dates resolved."""
        return read_spec(self._flow.spec, self._on)

    def _check_scoring(self, score: ScoringSettings) -> None:
        """Check the day of the scoring run before anything is fitted."""
        if score.at:
            resolve_day(score.at, self._on)
        if (self.spec.log is not None) != bool(score.at):
            needed = (
                "is required, because the spec has a [log]"
                if not score.at
                else "must be left out, because the spec has a [table]"
            )
            raise SpecInvalid(f"{self._flow_file}: score.at {needed}")

    @cached_property
    def _rows(self) -> FamilyRows:
        """Read the data, once in a cycle."""
        flow = self._flow
        return read_family_rows(self.spec, flow.spec, self.journal.folder, flow.data, flow.status, self._console)

    def run(self) -> CycleResult:
        """Perform the steps that are not completed yet, and return the result.

        Raises:
            TrainingError, ModelError: A step failed for a reason that the user can remove. Start the cycle again afterwards.
        """
        if not self._check_data():
            return CycleResult.DATA_REFUSED
        try:
            candidate = self._fit()
        except ModelRejected as error:
            self.findings.sentence = f"Not proposed: the candidate failed a check before its release. {error}"
            return CycleResult.NOT_PROPOSED
        if not self._compare(candidate):
            return CycleResult.NOT_PROPOSED
        self._sign(candidate)
        self._load_features()
        self._activate(candidate)
        self._score_and_load()
        self._retire()
        return CycleResult.DONE

    def _say(self, step: str, text: str) -> None:
        """Show what a step did, and keep it for the page."""
        self._console.info(f"{step}: {text}")
        self.findings.steps.append((step, text))

    def _served_markets(self) -> dict[str, set[str]]:
        """Return the markets of the flow that each bundle serves now, by bundle_id."""
        wanted = self._flow.server.markets if self._flow.server else ()
        found: dict[str, set[str]] = {}
        for market, bundle_id in read_active(self._flow.bundles, self.spec.family).items():
            if not wanted or market in wanted:
                found.setdefault(bundle_id, set()).add(market)
        return found

    def _read(self, bundle_id: str) -> Bundle:
        """Read a bundle of the catalog."""
        return read_bundle(find_bundle(self._flow.bundles, bundle_id))

    def _check_data(self) -> bool:
        """Compare the data with those of the serving bundles; return whether the cycle may continue."""
        facts = self.journal.find("data")
        # Until the fit is recorded, data that have changed since the check are checked again.
        if facts is not None and (
            self.journal.find("fit") is not None or facts["data_sha256"] == self._rows.samples.data_sha256
        ):
            self.findings.checks = facts["checks"]
            self._say("data", str(facts["said"]))
            return True
        champions = [self._read(each) for each in sorted(self._served_markets())]
        known = [each for each in champions if each.population is not None]
        samples, limits = self._rows.samples, self._flow.checks
        checks = [check for each in known for check in check_data(samples, each, limits)]
        self.findings.checks = [check.facts() for check in checks]
        if failed := [check for check in checks if not check.is_passed]:
            listed = "; ".join(check.sentence() for check in failed[:_SENTENCES_MAX])
            more = f"; and {len(failed) - _SENTENCES_MAX} more" if len(failed) > _SENTENCES_MAX else ""
            self.findings.sentence = (
                f"Nothing was fitted: the data differ too much from those of the serving bundle ({listed}{more}). "
                "Correct the data, or raise the limit in [checks] if the change is real."
            )
            self._say("data", f"{len(failed)} of {len(checks)} checks failed")
            return False
        compared = f"{len(checks)} checks passed" if known else "no serving bundle to compare with"
        if unknown := [each.bundle_id[:12] for each in champions if each.population is None]:
            compared += (
                f"; not compared with {', '.join(unknown)}, because bundles of format 1 do not state their population"
            )
        said = f"{len(samples.rows):,} rows, {compared}"
        self._say("data", said)
        self.journal.complete("data", said=said, checks=self.findings.checks, data_sha256=samples.data_sha256)
        return True

    def _fit(self) -> Bundle:
        """Fit, check and export the candidate; return its bundle."""
        flow, facts = self._flow, self.journal.find("fit")
        if facts is None:
            rows = self._rows
            release = release_model(
                rows.spec, spec_digest(flow.spec), rows.samples, flow.bundles, self._console, rows.rejected
            )
            show_release(rows, release, self._console)
            facts = self.journal.complete("fit", bundle_id=release.folder.name)
        bundle = self._read(str(facts["bundle_id"]))
        self._say("fit", f"bundle {bundle.bundle_id[:12]} for {', '.join(bundle.manifest.markets)}")
        return bundle

    def _compare(self, candidate: Bundle) -> bool:
        """Compare the candidate with the bundles that serve now; return whether it may be proposed."""
        if (facts := self.journal.find("compare")) is not None:
            self.findings.comparisons = facts["comparisons"]
            self._say("compare", str(facts["sentence"]))
            return True
        compared = self._compare_with_champions(candidate)
        self.findings.comparisons = [each.facts() for each in compared]
        verdicts = [each.verdict() for each in compared]
        if worse := [each.verdict() for each in compared if each.is_worse]:
            self.findings.sentence = f"Not proposed: {worse[0]}."
            self._say("compare", "; ".join(worse))
            return False
        unchanged = "the candidate is the bundle that serves already"
        sentence = "; ".join(verdicts) or (
            unchanged if candidate.bundle_id in self._served_markets() else "no other bundle serves"
        )
        self._say("compare", sentence)
        self.journal.complete("compare", sentence=sentence, comparisons=self.findings.comparisons)
        return True

    def _compare_with_champions(self, candidate: Bundle) -> list[ModelComparison]:
        """Compare the candidate with each bundle that serves now."""
        champions = {each: markets for each, markets in self._served_markets().items() if each != candidate.bundle_id}
        if not champions:
            return []
        self._check_same_data(candidate)
        policy = self.spec.reference_policy
        cut_off = policy.approve_max_pd if policy else None
        return [
            compare_bundles(self._rows.samples, candidate, self._read(each), markets, cut_off)
            for each, markets in sorted(champions.items())
        ]

    def _check_same_data(self, candidate: Bundle) -> None:
        """Check that the data have not changed since the candidate was fitted, in an earlier start of this cycle.

        Raises:
            DataInvalid: The data have changed, so that the hold-out may contain other customers.
        """
        if self._rows.samples.data_sha256 != candidate.manifest.made_from["data_sha256"]:
            raise DataInvalid(
                f"the data have changed since the bundle of this cycle was fitted; delete {self.journal.folder} to begin the "
                "cycle again, or start a cycle of a later day with --on"
            )

    def _sign(self, candidate: Bundle) -> None:
        """Sign the bundle of the candidate."""
        signing = self._flow.sign
        if signing is None or self.journal.find("sign") is not None:
            return
        sign_released_bundle(find_bundle(self._flow.bundles, candidate.bundle_id), signing.key, signing.name)
        self._say("sign", f"signed with {signing.name}")
        self.journal.complete("sign", name=signing.name)

    def _activate(self, candidate: Bundle) -> None:
        """Activate the bundle with the command of the server, which proposes it if a second person is required."""
        server, done = self._flow.server, self.journal.find("activate")
        name = candidate.bundle_id[:12]
        if server is None:
            self.findings.sentence = f"Bundle {name} was released; the flow has no [server], so it was not proposed."
            return
        if done is None:
            options = [word for market in server.markets for word in ("--market", market)]
            reason = server.reason.replace("{on}", self._on.isoformat())
            said = self._call_server("activate", candidate.bundle_id, *options, "--reason", reason)
            done = self.journal.complete("activate", said=said)
        self._say("activate", str(done["said"]))
        compared = self.journal.find("compare")
        assert compared is not None, "this step follows the comparison"
        verb = "proposed" if str(done["said"]).startswith("proposed") else "activated"
        self.findings.sentence = f"Bundle {name} was {verb}: {compared['sentence']}."

    def _load_features(self) -> None:
        """Load the features of the candidate before it can serve, because a bundle serves only customers who have them.

        The server keeps the features of each feature set apart, so the serving bundle keeps its own.
        """
        if self._flow.server is None or self.journal.find("features") is not None:
            return
        said = self._call_server("load", str(self._file("features")))
        self._say("features", said)
        self.journal.complete("features", said=said)

    def _score_and_load(self) -> None:
        """Score all customers with the serving bundle, and load the run into the server."""
        flow = self._flow
        if flow.score is None:
            return
        serving = sorted(self._served_markets())
        if len(serving) != 1:
            names = ", ".join(each[:12] for each in serving)
            problem = (
                f"several bundles serve the markets of the flow ({names}): approve a waiting proposal, or name the markets of one "
                "bundle in [server] markets"
                if serving
                else "no bundle serves yet: approve the proposal"
            )
            self._say("score", f"{problem}; then start the cycle again with --on {self._on}")
            return
        if self.journal.find("score") is None:
            score_customers(
                flow.spec,
                at=_midnight(resolve_day(flow.score.at, self._on)) if flow.score.at else None,
                bundles=flow.bundles,
                features=None if flow.score.at else self._file("features"),
                to=self._file("run"),
                data=flow.data if flow.score.at else None,
                status=flow.status if flow.score.at else None,
                suppress=flow.score.suppress,
                bundle=serving[0],
                decline=None,
                threads=self._console.threads,
                on=self._on,
            )
            self._say("score", f"wrote {self._file('run')}")
            self.journal.complete("score", run=str(self._file("run")), bundle_id=serving[0])
        if flow.server is not None and self.journal.find("load") is None:
            said = self._call_server("load", str(self._file("run")))
            self._say("load", said)
            self.journal.complete("load", said=said)

    def _file(self, kind: str) -> Path:
        """Return the feature file or the run file of the cycle."""
        return self.journal.folder / f"{self.spec.family}.{kind}.parquet"

    def _retire(self) -> None:
        """Retire the bundles of cycles that are no longer kept, unless they serve a market."""
        flow = self._flow
        if flow.server is None or flow.server.keep is None or self.journal.find("retire") is not None:
            return
        active = set(read_active(flow.bundles, self.spec.family).values())
        fit = self.journal.find("fit")
        assert fit is not None, "this step follows the fit"
        others = [each for each in earlier_bundles(flow.cycles, self._on) if each != fit["bundle_id"]]
        old = [each for each in others[flow.server.keep - 1 :] if each not in active]
        said = [self._call_server("retire", each, "--reason", "superseded by later cycles") for each in old]
        self._say("retire", "; ".join(said) or "nothing to retire")
        self.journal.complete("retire", said=said, bundle_ids=old)

    def _call_server(self, *words: str) -> str:
        """Run a command of the server; return what it printed.

        Raises:
            DataInvalid: The command failed; the message contains what it printed.
        """
        assert self._flow.server is not None, "only flows with a server call it"
        command: Sequence[str] = [*_SERVER, *words, "--config", str(self._flow.server.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise DataInvalid(
                f"`grounds-server {' '.join(words[:2])}` failed: {done.stderr.strip() or done.stdout.strip()}\n"
                f"correct this, and start the cycle again with --on {self._on}; it continues with this step"
            )
        return done.stdout.strip()


def _midnight(day: dt.date) -> dt.datetime:
    """Return the beginning of a day, without a zone, as the option --at of `score` gives it."""
    return dt.datetime.combine(day, dt.time())
