"""Generates the Python of the contract, and checks the contract.

    python protos/contract.py generate   write the generated modules beside their .proto files
    python protos/contract.py check      check that they are fresh; lint, format, breaking changes
    python protos/contract.py archive    write dist/grounds-contract-VERSION.zip for other languages
    python protos/contract.py release    renew released.binpb; at a tag only

protoc reads buf/validate/validate.proto from a descriptor set, because protovalidate ships its descriptor but not its source.
buf reads the image that protoc writes. Neither needs a network.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.type import money_pb2
from protovalidate._gen.buf.validate.validate_pb import desc

ROOT = Path(__file__).resolve().parent
SITE_PACKAGES = Path(money_pb2.__file__).parents[2]
VALIDATE = "buf/validate/validate.proto"
_RELEASED = ROOT / "released.binpb"


def main(arguments: list[str]) -> int:
    """Run one command; return 0 only if all of it succeeded."""
    commands = {"generate": generate, "check": check, "archive": archive, "release": release}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__)
        return 2
    return commands[arguments[0]]()


def generate(folder: Path = ROOT) -> int:
    """Write *_pb2.py, *_pb2.pyi and *_pb2_grpc.py of every file of the contract into the folder."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as image:
        image.write(_without_validate(image_bytes()))
        image.flush()
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}", f"--grpc_python_out={folder}"]
        _run_protoc(f"--descriptor_set_in={image.name}", *outputs, *contract_files())
    return 0


def check() -> int:
    """Print every fault of the contract, not only the first; return 0 if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        image.write_bytes(image_bytes())
        statuses = [
            _print_stale(Path(folder)),
            _run_buf("lint", str(image), "--config", str(ROOT / "buf.yaml")),
            _run_buf("format", "--diff", "--exit-code", str(ROOT), "--path", str(ROOT / "grounds")),
            _run_buf("breaking", str(image), "--against", str(_RELEASED), "--config", str(ROOT / "buf.yaml")),
        ]
    return max(statuses)


def archive() -> int:
    """Write the archive for other languages; print its path."""
    from contract_archive import write_archive

    print(write_archive(ROOT.parent / "dist"))
    return 0


def release() -> int:
    """Make the present contract the one that later changes are compared with."""
    _RELEASED.write_bytes(image_bytes())
    return 0


def contract_files() -> list[str]:
    """Return the names of the contract's files, as they import each other."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("grounds/*/v1/*.proto"))


def image_bytes(*others: str) -> bytes:
    """Return the contract, and other files by name, with imports and comments as an encoded FileDescriptorSet."""
    includes = [ROOT, SITE_PACKAGES, resources.files(grpc_tools) / "_proto"]
    with tempfile.TemporaryDirectory() as folder:
        validate, image = Path(folder) / "validate.binpb", Path(folder) / "image.binpb"
        validate.write_bytes(validate_files().SerializeToString())
        _run_protoc(
            f"--descriptor_set_in={validate}",
            *(f"-I{include}" for include in includes),
            f"--descriptor_set_out={image}",
            "--include_imports",
            "--include_source_info",
            *contract_files(),
            *others,
        )
        return image.read_bytes()


def validate_files() -> descriptor_pb2.FileDescriptorSet:
    """Return buf/validate/validate.proto, after what it imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(desc().proto.to_binary())
    return files


def _without_validate(image: bytes) -> bytes:
    """Return the image without buf/validate/validate.proto and without the imports of it.

    The rules stay in the options, as fields that protobuf does not know; protovalidate reads them by their number. The
    generated Python then neither imports a module `buf.validate` nor registers that file, so an application may have its own.
    """
    files = [file for file in descriptor_pb2.FileDescriptorSet.FromString(image).file if file.name != VALIDATE]
    for file in files:
        imports = [name for name in file.dependency if name != VALIDATE]
        file.ClearField("dependency")
        file.dependency.extend(imports)
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


def _print_stale(folder: Path) -> int:
    """Generate into the folder and print each committed file that differs; return 0 if none does."""
    generate(folder)
    stale = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*_pb2*.py*"))
        if path.read_bytes() != _content(ROOT / path.relative_to(folder))
    ]
    for path in stale:
        print(f"protos/{path} is not what the contract generates; run: make protos")
    return 1 if stale else 0


def _content(path: Path) -> bytes | None:
    """Return the content of a file, None if it does not exist."""
    return path.read_bytes() if path.exists() else None


def _run_protoc(*arguments: str) -> None:
    """Run the protoc of grpcio-tools; raise CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True, cwd=ROOT)


def _run_buf(*arguments: str) -> int:
    """Run buf, which prints what it finds; return its exit status."""
    executable = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    return subprocess.run([executable, *arguments], check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
