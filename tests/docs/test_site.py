"""The pages are true to the tree: the site builds, every link leads somewhere, every path that a page names exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(path for path in sorted(ROOT.glob("**/README.md")) if not {".venv", "node_modules", "site"} & set(path.parts)),
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
]
FOLDERS = "client|console|docs|examples|models|protos|record|server|tests|training"


def missing_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead to no file."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target and not (page.parent / target).exists()]


def missing_paths(page: Path) -> list[str]:
    """Return the paths in back ticks that exist neither in the tree nor below the page's folder."""
    named = re.findall(
        rf"`((?:{FOLDERS})/[\w./-]*|\w[\w/]*/\w+\.(?:py|toml|sql|css))`", page.read_text(encoding="utf-8")
    )
    made = {"models/bundles", "models/bundles/"}  # appear when a model is trained
    return [
        path for path in named if path not in made and not any((top / path).exists() for top in (ROOT, page.parent))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_exist(page: Path) -> None:
    assert not missing_links(page)
    assert not missing_paths(page)


def test_a_broken_link_and_a_wrong_path_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[there](nowhere.md), `server/nowhere.py`, `edges/nowhere.py`, [here](page.md)")

    assert missing_links(page) == ["nowhere.md"]
    assert missing_paths(page) == ["server/nowhere.py", "edges/nowhere.py"]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Grounds" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "architecture.html").is_file()


def test_the_site_asks_no_other_host_for_anything(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")], cwd=ROOT, check=True
    )

    fetched = [
        found
        for page in (tmp_path / "site").rglob("*.html")
        for found in re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
    ]

    assert not fetched
