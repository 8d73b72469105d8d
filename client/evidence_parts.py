"""The parts of the evidence page about what decided: the model with the key facts of its report, and the policy."""

from client.markup import Markup, facts, section, table, tag
from grounds.audit.v1 import audit_pb2 as pb

KEY_FACTS = ("hold_out.", "out_of_time.")  # what a validator reads first; the report has the rest


def model_part(evidence: pb.Evidence) -> Markup:
    """Give the bundle that decided."""
    if not evidence.HasField("bundle"):
        told = f"Bundle {evidence.record.bundle_id} cannot be read any more: restore it into the catalog."
        return section("The model", tag("p", told))
    bundle, model = evidence.bundle, evidence.bundle.model
    measured = [(name, f"{value:,.6g}") for name, value in sorted(model.metrics.items()) if name.startswith(KEY_FACTS)]
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
