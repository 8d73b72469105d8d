"""The frame of an evidence page, and the sections that the pages of decisions and of churn predictions share."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from grounds.audit.v1 import audit_pb2, evidence_pb2
from grounds.explain.v1 import explain_pb2
from grounds.model.v1 import model_pb2
from grounds_client.evidence.checks import EvidenceCheck
from grounds_client.evidence.markup import Markup, definitions, section, table, tag
from grounds_client.evidence.proof_path import proof_path
from grounds_client.evidence.verdicts import mode_text, verdict_name, verdict_text
from grounds_client.formatting import enum_name, number_text, time_text, value_text

_EvidencePack = audit_pb2.Evidence | audit_pb2.ChurnEvidence
_Replay = audit_pb2.ReplayDecisionResponse | audit_pb2.ReplayChurnRiskResponse
_SHOWN_METRICS = (
    "hold_out.",
    "out_of_time.",
)  # the metrics that a validator reads first; the bundle's report has all of them
_PROOF_LIMIT = (
    "What this cannot show: a person with the log's signing key could have written another log before this checkpoint was signed. To "
    "rule that out, compare a checkpoint that was saved earlier, out of reach of the log's operator: "
)


def render_page(title: str, parts: Iterable[Markup]) -> str:
    """Return a complete page of HTML.

    The page loads no other file, because its styles are inline and it has no links.
    """
    style = resources.files("grounds_client.evidence").joinpath("evidence.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", tag("h1", title), *parts))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def purpose_paragraph(reading: evidence_pb2.EvidenceReading, purpose: str) -> Markup:
    """Return why the evidence was read, and which record of the log documents the reading."""
    text = f"Read for: {purpose}. The reading is itself recorded, with index {reading.index} in the record log: {reading.record_id}."
    return tag("p", text, class_="soft")


def features_table(lines: Iterable[audit_pb2.FedFeature], features: Iterable[model_pb2.Feature]) -> Markup:
    """Return the features as the model received them, with their descriptions from the bundle."""
    described = {feature.name: feature for feature in features}
    rows = []
    for line in lines:
        feature = described.get(line.feature)
        source = enum_name(explain_pb2.ValueSource, line.source)
        rows.append(
            (
                line.feature + (f": {feature.description}" if feature else ""),
                value_text(line.value, feature.unit if feature else ""),
                repr(line.number) if line.HasField("value") else "",
                "" if source == "UNSPECIFIED" else source.lower(),
                time_text(line.as_of_time) if line.HasField("as_of_time") else "",
            )
        )
    return table(("feature", "value", "model input", "source", "as of (UTC)"), rows, figures=(1, 2, 4))


def baseline_paragraph(bundle: audit_pb2.BundleEvidence) -> Markup | None:
    """Return with whom the explanation compares the customer; None if the bundle is missing from the catalog."""
    baseline = bundle.model.baseline
    if not baseline.row_count:
        return None
    text = (
        f"Each line compares the customer with {baseline.row_count:,} customers of the baseline: {baseline.definition}."
    )
    return tag("p", text, class_="soft")


def replay_section(replay: _Replay, modes: Mapping[evidence_pb2.ReplayMode, str]) -> Markup:
    """Return the verdicts of a replay; `modes` is DECISION_MODES or CHURN_MODES."""
    rows = [(mode_text(result, modes), verdict_name(result), verdict_text(result)) for result in replay.results]
    runtime = replay.replay_runtime
    text = (
        f"Replayed by Grounds {runtime.grounds}, ONNX Runtime {runtime.onnxruntime}, Python {runtime.python}, "
        f"{runtime.platform}."
    )
    verdicts = tag("div", table(("compared", "verdict", "what that means"), rows), tag("p", text, class_="soft"))
    return section("Does the replay match?", verdicts)


def proof_section(
    evidence: _EvidencePack, checks: Sequence[EvidenceCheck], key: str, comparison: Markup | None = None
) -> Markup:
    """Return the proof, the checks on the reader's side, and the key that was used for them (`describe_key`).

    Args:
        evidence: The evidence as the server returned it.
        checks: The results of the checks; the section answers its question from them.
        key: A description of the key.
        comparison: A link to where a reader can compare a saved checkpoint; None to name the command.
    """
    proof = evidence.proof
    lines = [tag("li", check.claim, class_="holds" if check.holds else "fails") for check in checks]
    return section(
        "Is the record unchanged?",
        _answer(checks),
        tag("p", _PROOF_LIMIT, comparison or tag("code", "grounds checkpoint"), "."),
        tag("ul", *lines, class_="checks"),
        definitions(
            [
                ("index in the record log, counted from 0", str(proof.record.index)),
                ("checked with the public key", key),
            ]
        ),
        proof_path(proof),
        tag("p", "Checkpoint, signed by the log:"),
        tag("pre", proof.checkpoint),
        tag("p", "Header of the record, as stored:"),
        tag("pre", proof.record.header.decode("utf-8", "replace")),
        tag("p", _decryption_text(evidence), class_="soft") if evidence.HasField("record") else None,
    )


def _answer(checks: Sequence[EvidenceCheck]) -> Markup:
    """Return the answer to whether the record is unchanged, as a sentence."""
    failed = sum(not check.holds for check in checks)
    if not failed and checks:
        return tag(
            "p",
            "Yes: every check below holds. The record is unchanged since the log signed this checkpoint.",
            class_="holds",
        )
    if not checks:
        return tag("p", "Not known: nothing was checked.", class_="fails")
    return tag("p", f"Not shown: {failed} of {len(checks)} checks below failed. Inform the auditors.", class_="fails")


def _decryption_text(evidence: _EvidencePack) -> str:
    """Return whose key decrypted the record.

    A run has many customers, so its record is sealed with the log's own key.
    """
    owner = "the customer's key" if isinstance(evidence, audit_pb2.Evidence) else "the log's own key"
    return (
        f"The server opened the record with {owner}. The proof covers the sealed bytes; anyone with that key can open them "
        "and compare."
    )


def model_section(evidence: _EvidencePack) -> Markup:
    """Return the section about the bundle that made the decision, or scored the run."""
    if not evidence.HasField("bundle"):
        text = f"Bundle {evidence.record.bundle_id} is missing from the catalog: restore it to see its card."
        return section("The model", tag("p", text))
    bundle, model = evidence.bundle, evidence.bundle.model
    metrics = [
        (name, number_text(value)) for name, value in sorted(model.metrics.items()) if name.startswith(_SHOWN_METRICS)
    ]
    return section(
        "The model",
        definitions(
            [
                ("bundle", model.summary.bundle_id),
                ("family, markets", f"{model.summary.family}, {', '.join(model.summary.markets)}"),
                ("baseline customers", f"{model.baseline.row_count:,}: {model.baseline.definition}"),
                ("baseline", model.baseline.sha256),
                *sorted((f"made from: {name}", text) for name, text in bundle.made_from.items()),
            ]
        ),
        table(("metric on rows not used in training", "value"), metrics, figures=(1,)) if metrics else None,
        tag("p", "Model card:"),
        tag("pre", model.card),
        tag("p", "Files of the bundle, report.html among them, by SHA-256:"),
        tag("pre", "\n".join(f"{sha256}  {name}" for name, sha256 in sorted(bundle.files.items()))),
    )


def policy_section(evidence: audit_pb2.Evidence) -> Markup:
    """Return the section about the policy that made the decision."""
    record = evidence.record
    names = definitions([("version", record.policy_version), ("SHA-256 of the file", record.policy_sha256)])
    if not evidence.HasField("policy"):
        return section("The policy", names, tag("p", "The policy file is missing from the server's database."))
    return section("The policy", names, tag("pre", evidence.policy.content.decode("utf-8", "replace")))
