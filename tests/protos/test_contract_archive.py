"""The archive of the contract compiles on its own, and the same contract gives the same bytes."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from tests.conftest import ROOT

VALIDATE = "buf/validate/validate.proto"
# Options that each language's compiler needs; without them it makes up names, or refuses.
FILE_OPTIONS = (
    "go_package",
    "java_package",
    "java_outer_classname",
    "csharp_namespace",
    "php_namespace",
    "ruby_package",
)
WRITE = "import sys, pathlib; from contract_archive import write_archive; write_archive(pathlib.Path(sys.argv[1]))"


def write(folder: Path) -> Path:
    """Write the archive in a new process; return its path."""
    command = [sys.executable, "-c", WRITE, str(folder)]
    subprocess.run(command, check=True, cwd=ROOT / "protos", timeout=60)
    return next(folder.glob("grounds-contract-*.zip"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive."""
    return write(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    """Return the folder of an unpacked archive."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(archive.parent)
    return archive.with_suffix("")


def build(folder: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return the files that `buf build` compiles from the folder's sources, by name; it has no network here."""
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    image = folder.parent / "built.binpb"
    subprocess.run([buf, "build", ".", "--exclude-source-info", "-o", str(image)], check=True, cwd=folder, timeout=60)
    return files_by_name(image.read_bytes())


def files_by_name(image: bytes) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return the files of an image by name."""
    return {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(image).file}


def comparable(file: descriptor_pb2.FileDescriptorProto, kind: type[Message]) -> Message:
    """Return a file for comparison: its options parsed, without comments and without what buf adds to each file."""
    parsed = kind.FromString(file.SerializeToString())
    parsed.ClearField("source_code_info")
    parsed.DiscardUnknownFields()
    return parsed


def test_the_same_contract_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    assert write(tmp_path).read_bytes() == archive.read_bytes()


def test_the_archive_builds_on_its_own(unpacked: Path) -> None:
    files = build(unpacked)

    ours = {path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos/grounds").rglob("*.proto")}
    assert ours < set(files)
    assert {"google/type/money.proto", "google/type/date.proto", "google/rpc/status.proto", VALIDATE} < set(files)


def test_the_descriptor_set_is_what_the_sources_compile_to(unpacked: Path) -> None:
    files, image = build(unpacked), files_by_name((unpacked / "grounds.binpb").read_bytes())

    pool = descriptor_pool.DescriptorPool()
    for file in image.values():
        pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FileDescriptorProto"))
    assert "buf.validate.field" in str(comparable(image["grounds/customer/v1/customer.proto"], kind))
    named = [name for name in image if not name.startswith("google/protobuf/")]
    assert VALIDATE in named
    for name in named:
        assert comparable(files[name], kind) == comparable(image[name], kind), name


def test_every_file_of_the_contract_has_the_options_that_other_languages_need(unpacked: Path) -> None:
    for name, file in files_by_name((unpacked / "grounds.binpb").read_bytes()).items():
        if name.startswith("grounds/"):
            assert all(getattr(file.options, option) for option in FILE_OPTIONS), name
            assert file.options.java_multiple_files


def test_the_source_of_validate_names_its_licence_and_release(unpacked: Path) -> None:
    head = (unpacked / "proto" / VALIDATE).read_text()[:400]

    assert "Buf Technologies" in head
    assert "Apache License" in head
    assert (unpacked / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
