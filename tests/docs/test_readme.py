"""README's first screen is what a real run prints."""

import re
from pathlib import Path

import demo
from tests.conftest import ROOT, Released, as_environment

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_console_blocks_are_what_the_demo_prints_apart_from_names_and_times_of_decisions(
    released: Released, tmp_path: Path
) -> None:
    settings = as_environment(released.copy_stores(tmp_path))

    with demo.serving(tmp_path / "server.log", **settings) as address:
        shown = {
            name: transcript
            for name, _, transcript in demo.run_steps(address, released.files / "credit.features.parquet")
        }

    written = blocks_of(README)
    assert set(written) == {"middling", "churn", "replay"}
    for name, transcript in written.items():
        assert mask_ids_and_times(transcript) == mask_ids_and_times(shown[name])
    points = points_of(shown["bad"])
    assert sum(points[:-1]) == points[-1]


def blocks_of(text: str) -> dict[str, str]:
    """Read the transcripts back."""
    found = re.findall(r"<!-- demo: (\w+) -->\n```console\n(.*?)\n```", text, flags=re.DOTALL)
    return dict(found)


def mask_ids_and_times(transcript: str) -> str:
    """Replace what differs from run to run: decision ids and times."""
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(, .* UTC)?", "...", transcript)


def points_of(transcript: str) -> list[int]:
    """Read the column of points: base, features, score."""
    table = transcript.split("how the score adds up")[1]
    lines = [re.findall(r"\s([+-]?\d+)\s+(\d+)(?:\s+[-+]+)?$", line) for line in table.splitlines()]
    return [int(found[0][0]) for found in lines if found]


def test_every_link_leads_to_a_file_that_is_there() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("training/data/README.md")]:
        links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))

        missing = [link for link in links if not (document.parent / link).exists()]

        assert not missing, f"{document}: {missing}"


def test_every_target_of_the_makefile_that_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))

    named = set(re.findall(r"\bmake ([a-z-]+)\b", README)) - {"alone"}

    assert named <= targets
