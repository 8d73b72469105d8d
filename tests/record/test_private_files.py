"""Private folders: they are created with mode 0700, and a file in the place of a folder is an error."""

from pathlib import Path

import pytest

from grounds_record.private_files import make_folder


def test_missing_parents_are_created_for_their_owner_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / folder)
