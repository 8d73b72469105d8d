"""Hooks of the site: add the pages that live beside the code, and keep every link working there and in the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page of the navigation that is not below docs/, under its path in the repository, and its pictures."""
    for path in _paths(config.nav):
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
            for picture in (ROOT / path).parent.glob("*.svg"):
                name = picture.relative_to(ROOT).as_posix()
                if files.get_file_from_path(name) is None:
                    files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links between pages; a link to a file that is no page becomes the file's name."""
    inside_docs = Path(config.docs_dir) in Path(page.file.abs_src_path).parents
    here = "docs/" + page.file.src_uri if inside_docs else page.file.src_uri

    def rewrite(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups()
        if "://" in target:
            return found.group(0)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        path = path.removeprefix("docs/")
        if files.get_file_from_path(path) is None:
            return text if mark == "" else ""
        relative = posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or ".")
        return f"{mark}[{text}]({relative}{anchor or ''})"

    return _LINK.sub(rewrite, markdown)


def _paths(nav: Any) -> list[str]:
    """Return the paths of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    return [path for child in children for path in _paths(child)]
