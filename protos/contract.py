"""Generates the Python code of the gRPC contract (the .proto files), and checks the contract.

    python protos/contract.py generate   write the generated modules next to their .proto files
    python protos/contract.py check      check that these modules are up to date; check lint, format and breaking changes
    python protos/contract.py archive    write dist/grounds-contract-VERSION.zip for other languages
    python protos/contract.py release    replace released.binpb; run this only when a release is tagged

protoc reads buf/validate/validate.proto from a descriptor set, because protovalidate ships its descriptor but not its source.
buf reads the image that protoc writes. Neither protoc nor buf needs a network.
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
    """Run one command; return its exit status, which is 0 if the command succeeded."""
    commands = {"generate": generate, "check": check, "archive": archive, "release": release}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__)
        return 2
    return commands[arguments[0]]()


def generate(folder: Path = ROOT) -> int:
    """Write *_pb2.py, *_pb2.pyi and *_pb2_grpc.py for every .proto file of the contract to the folder."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as image:
        image.write(_without_validate(image_bytes()))
        image.flush()
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}", f"--grpc_python_out={folder}"]
        _run_protoc(f"--descriptor_set_in={image.name}", *outputs, *contract_files())
    return 0


def check() -> int:
    """Run all checks, even if one fails, and print what they find; return 0 if all checks succeed."""
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
    """Save the current contract as the released contract, with which `check` compares later changes."""
    _RELEASED.write_bytes(image_bytes())
    return 0


def contract_files() -> list[str]:
    """Return the sorted names of the contract's .proto files, as in import statements."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("grounds/*/v1/*.proto"))


def image_bytes(*others: str) -> bytes:
    """Return an encoded FileDescriptorSet of the contract and of other .proto files, with all imports and comments."""
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
    """Return the descriptors of the files that buf/validate/validate.proto imports, and then its own descriptor."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(desc().proto.to_binary())
    return files


def _without_validate(image: bytes) -> bytes:
    """Return the image without buf/validate/validate.proto and without the imports of it.

    The validation rules stay in the options as unknown fields, which protovalidate reads by number. The generated Python code
    neither imports `buf.validate` nor registers validate.proto, so an application can use its own version of this file.
    """
    files = [file for file in descriptor_pb2.FileDescriptorSet.FromString(image).file if file.name != VALIDATE]
    for file in files:
        imports = [name for name in file.dependency if name != VALIDATE]
        file.ClearField("dependency")
        file.dependency.extend(imports)
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


def _print_stale(folder: Path) -> int:
    """Generate the modules in the folder, and print each module whose committed version differs; return 0 if none differs."""
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
    """Return the content of a file; None if the file does not exist."""
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
