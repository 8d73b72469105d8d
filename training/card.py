"""The model card: what a bundle is for, in words that need no training in statistics."""

from collections.abc import Mapping

from training.evaluate import Quality
from training.samples import Samples
from training.spec import Spec


def card_of(spec: Spec, samples: Samples, test: Quality, rivals: Mapping[str, Quality]) -> str:
    """Write card.md."""
    lines = [f"# {spec.title}", "", f"**For:** {spec.purpose}", "", f"**Learnt from:** {spec.population}.", ""]
    lines += ["**Not for:**", "", *(f"- {line}" for line in spec.not_for or ("nothing was stated",)), ""]
    sentence = (
        f"**How good:** of two customers, one good and one bad, it ranks them rightly in {test.auc:.1%} of all pairs "
        f"(AUC {test.auc:.4f}, Gini {test.gini:.4f}, KS {test.ks:.4f}), on {test.rows:,} rows that it had not seen, "
        f"{test.bads:,} of them bad. The mean probability there is {test.mean_pd:.2%}, the bad rate {test.bad_rate:.2%}."
    )
    lines += [
        sentence,
        "",
        "| rule on the same rows | AUC | Brier |",
        "|---|---|---|",
        f"| **this model** | {test.auc:.4f} | {test.brier:.4f} |",
        *(f"| {name} | {found.auc:.4f} | {found.brier:.4f} |" for name, found in rivals.items()),
        "",
        "**Rows:**",
        "",
        *(f"- {what}: {count:,}" for what, count in samples.waterfall),
        "",
    ]
    return "\n".join(lines)
