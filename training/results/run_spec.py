"""Checks that a spec is the one of a run: the same outcome, horizon, features, markets and currencies."""

from collections.abc import Callable
from pathlib import Path

from models.bundle import read_bundle
from training.errors import SpecInvalid
from training.results.run_file import RunFile
from training.scoring.bundle_selection import check_compatible
from training.sources.currencies import run_currencies
from training.sources.snapshots import with_recorded_rules
from training.spec import Spec


def spec_of_runs(spec: Spec, spec_sha256: str, runs: list[RunFile], bundles: Path, info: Callable[[str], None]) -> Spec:
    """Return the spec with the rules of the log that the bundles of the runs were fitted with, after all checks.

    Args:
        spec: The spec.
        spec_sha256: SHA-256 of the spec.
        runs: The runs.
        bundles: Folder of the bundle catalog. If it has the bundle of a run, the definition of the outcome is compared.
        info: Function that is called with a sentence about what could not be checked.

    Raises:
        SpecInvalid: The spec has no transaction log or another outcome, or a run belongs to another spec.
    """
    if spec.log is None or spec.snapshots is None or spec.snapshots.outcome != "churn":
        raise SpecInvalid(
            'results requires a spec with a [log] and snapshots.outcome = "churn", because the purchases after a run show who left; '
            "name the spec with which the runs were scored"
        )
    found: list[Spec] = []
    for run in runs:
        _check_run(spec, run)
        folder = bundles / spec.family / run.manifest.bundle_id
        if folder.is_dir():
            bundle = read_bundle(folder)
            found.append(with_recorded_rules(spec, bundle.manifest.made_from))
            check_compatible(found[-1], spec_sha256, bundle, lambda _sentence: None)
        else:
            found.append(spec)
            if run.manifest.spec_sha256 != spec_sha256:
                info(
                    f"run {run.as_of}: the spec has changed since the run, and {bundles} lacks the bundle "
                    f"{run.manifest.bundle_id[:12]}, so only the family, horizon, features, markets and currencies were compared"
                )
    days = {each.log.cancel_days for each in found if each.log}
    if len(days) > 1:
        raise SpecInvalid(
            f"the runs were scored with different log.cancel_days ({', '.join(map(str, sorted(days, key=str)))}); name them in separate "
            "calls"
        )
    return found[0]


def _check_run(spec: Spec, run: RunFile) -> None:
    """Raise SpecInvalid if a run belongs to another spec; the message lists every difference."""
    assert spec.log is not None
    assert spec.snapshots is not None
    manifest = run.manifest
    names = [feature.name for feature in spec.features]
    currencies = {"currency": manifest.currency}
    currencies |= {"currencies": manifest.currencies} if manifest.currencies else {}  # type: ignore[dict-item]
    compared = [
        ("family", manifest.family, spec.family),
        ("snapshots.horizon_days", manifest.horizon_days, spec.snapshots.horizon_days),
        ("log.currency", currencies, run_currencies(spec)),
        *([("features", ", ".join(manifest.feature_names), ", ".join(names))] if names else []),
    ]
    problems = [f"  {name}: {then} in the run, {now} in the spec" for name, then, now in compared if then != now]
    known = {spec.log.market} if spec.log.market else None
    if isinstance(spec.log.currency, dict):
        known = set(spec.log.currency)
    if known is not None and (other := sorted(set(run.markets) - known)):
        problems.append(f"  markets: {', '.join(other)} in the run, {', '.join(sorted(known))} in the spec")
    if problems:
        way_out = "use the spec with which the run was scored"
        raise SpecInvalid("\n".join([f"{run.path} does not belong to the spec:", *problems, way_out]))
