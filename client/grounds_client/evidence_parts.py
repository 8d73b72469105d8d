"""The parts that pages of evidence share: what was fed, the verdicts, the proof, the model, the policy; and the page itself."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from grounds.audit.v1 import audit_pb2 as pb
from grounds.audit.v1 import evidence_pb2 as ev
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from grounds_client.markup import Markup, facts, section, table, tag
from grounds_client.proof import Check
from grounds_client.show import short
from grounds_client.values import number_text, value_text
from grounds_client.verdicts import mode_name, verdict_name, verdict_text

AnyEvidence = pb.Evidence | pb.ChurnEvidence
AnyReplay = pb.ReplayDecisionResponse | pb.ReplayChurnRiskResponse
KEY_FACTS = ("hold_out.", "out_of_time.")  # what a validator reads first; the report has the rest


class Told(NamedTuple):
    """What the reader said.

    Attributes:
        purpose: Why it was read, as recorded.
        key: With which key the proof was checked, and who gave it (proof.key_told).
    """

    purpose: str
    key: str


def page(title: str, parts: Iterable[Markup]) -> str:
    """Put parts under a title into a page that names no address outside itself."""
    style = resources.files("grounds_client").joinpath("evidence.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", tag("h1", title), *parts))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def read_for(reading: ev.EvidenceReading, purpose: str) -> Markup:
    """Say why it was read, and where that is recorded."""
    told = f"Read for: {purpose}. The reading is itself record {reading.index} of the log, {reading.record_id}."
    return tag("p", told, class_="soft")


def fed(lines: Iterable[pb.FedFeature], features: Iterable[model_pb2.Feature]) -> Markup:
    """Give the features as fed, with what the bundle says of them."""
    described = {feature.name: feature for feature in features}
    rows = []
    for line in lines:
        feature = described.get(line.feature)
        source = short(explain_pb2.ValueSource.Name(line.source), "VALUE_SOURCE_")
        rows.append(
            (
                line.feature + (f": {feature.description}" if feature else ""),
                value_text(line.value, feature.unit if feature else ""),
                repr(line.number) if line.HasField("value") else "",
                "" if source == "UNSPECIFIED" else source.lower(),
                line.as_of_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if line.HasField("as_of_time") else "",
            )
        )
    return table(("feature", "value", "number fed", "given by", "as of (UTC)"), rows, figures=(1, 2, 4))


def replayed(replay: AnyReplay, names: Mapping[ev.ReplayMode, str]) -> Markup:
    """Give the verdicts."""
    rows = [(mode_name(result, names), verdict_name(result), verdict_text(result)) for result in replay.results]
    runtime = replay.replay_runtime
    told = f"Replayed by Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}, {runtime.platform}."
    return tag("div", table(("compared", "verdict", "what that means"), rows), tag("p", told, class_="soft"))


def proof(evidence: AnyEvidence, checks: Sequence[Check], key: str) -> Markup:
    """Give the proof, what was checked here, and with which key."""
    found = evidence.proof
    lines = [tag("li", check.told, class_="holds" if check.holds else "fails") for check in checks]
    return section(
        "Is it what was written then?",
        tag("ul", *lines, style="list-style: none; padding: 0"),
        facts([("place in the log", str(found.record.index)), ("checked with the public key", key)]),
        tag("p", "Checkpoint, signed by the log:"),
        tag("pre", found.checkpoint),
        tag("p", "Header of the record, as stored:"),
        tag("pre", found.record.header.decode("utf-8", "replace")),
        tag("p", opened(evidence), class_="soft") if evidence.HasField("record") else None,
    )


def opened(evidence: AnyEvidence) -> str:
    """Say whose key opened the record: a run holds many customers, and is sealed under the log's own."""
    whose = "the customer's key" if isinstance(evidence, pb.Evidence) else "the log's own key"
    return (
        f"The server opened the record with {whose}. The proof covers the sealed bytes; whoever holds the key can open them "
        "again and compare."
    )


def model_part(evidence: AnyEvidence) -> Markup:
    """Give the bundle that decided, or scored the run."""
    if not evidence.HasField("bundle"):
        told = f"Bundle {evidence.record.bundle_id} cannot be read any more: restore it into the catalog."
        return section("The model", tag("p", told))
    bundle, model = evidence.bundle, evidence.bundle.model
    measured = [
        (name, number_text(value)) for name, value in sorted(model.metrics.items()) if name.startswith(KEY_FACTS)
    ]
    return section(
        "The model",
        facts(
            [
                ("bundle", model.summary.bundle_id),
                ("family, markets", f"{model.summary.family}, {', '.join(model.summary.markets)}"),
                ("compared with", f"{model.baseline.row_count:,} customers: {model.baseline.definition}"),
                ("baseline", model.baseline.sha256),
                *sorted((f"made from: {name}", text) for name, text in bundle.made_from.items()),
            ]
        ),
        table(("measured on rows that it had not seen", "value"), measured, figures=(1,)) if measured else None,
        tag("p", "Its card:"),
        tag("pre", model.card),
        tag("p", "Its files, report.html among them, by SHA-256:"),
        tag("pre", "\n".join(f"{sha256}  {name}" for name, sha256 in sorted(bundle.files.items()))),
    )


def policy_part(evidence: pb.Evidence) -> Markup:
    """Give the policy that decided."""
    record = evidence.record
    told = facts([("version", record.policy_version), ("SHA-256 of its file", record.policy_sha256)])
    if not evidence.HasField("policy"):
        return section("The policy", told, tag("p", "Its file cannot be read any more."))
    return section("The policy", told, tag("pre", evidence.policy.content.decode("utf-8", "replace")))
