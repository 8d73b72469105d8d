"""Generates the Python of the contract, and checks the contract.

    python protos/contract.py generate   write the generated modules beside their .proto
    python protos/contract.py check      fresh? lint, format and breaking changes
    python protos/contract.py release    renew released.binpb; at a tag only

protoc needs buf/validate/validate.proto, of which protovalidate ships the descriptor only: it is
handed over as a descriptor set. buf reads the image that protoc writes, so it needs no network.
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
RELEASED = ROOT / "released.binpb"
VALIDATE = "buf/validate/validate.proto"
SITE_PACKAGES = Path(money_pb2.__file__).parents[2]


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 0 only if everything held."""
    commands = {"generate": generate, "check": check, "release": release}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__)
        return 2
    return commands[arguments[0]]()


def generate(out: Path = ROOT) -> int:
    """Write *_pb2.py, *_pb2.pyi and *_pb2_grpc.py for every file of the contract into `out`."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        write_image(image)
        image.write_bytes(without_validate(image.read_bytes()))
        outputs = [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
        return run_protoc(f"--descriptor_set_in={image}", *outputs, *files())


def without_validate(image: bytes) -> bytes:
    """Return the image without buf/validate/validate.proto and without the imports of it.

    The rules stay in the options, as fields that protobuf does not know: whoever needs them, such as protovalidate, reads
    them by their number. So the generated Python neither imports a module `buf.validate` nor registers that file, and an
    application may have its own.
    """
    every_file = descriptor_pb2.FileDescriptorSet.FromString(image).file
    others = [file for file in every_file if file.name != VALIDATE]
    for file in others:
        imports = [name for name in file.dependency if name != VALIDATE]
        file.ClearField("dependency")
        file.dependency.extend(imports)
    return descriptor_pb2.FileDescriptorSet(file=others).SerializeToString()


def check() -> int:
    """Report everything that is wrong with the contract, not the first thing only."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        write_image(image)
        failures = [
            fresh(Path(folder)),
            buf("lint", str(image), "--config", str(ROOT / "buf.yaml")),
            buf("format", "--diff", "--exit-code", str(ROOT), "--path", str(ROOT / "grounds")),
            buf("breaking", str(image), "--against", str(RELEASED), "--config", str(ROOT / "buf.yaml")),
        ]
    return max(failures)


def release() -> int:
    """Make today's contract the one that later changes are held against."""
    return write_image(RELEASED)


def fresh(folder: Path) -> int:
    """Generate again and compare: generated code is committed, never edited."""
    generate(folder)
    stale = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*_pb2*.py*"))
        if path.read_bytes() != read_or_empty(ROOT / path.relative_to(folder))
    ]
    for path in stale:
        print(f"protos/{path} is not what the contract generates; run: make protos")
    return 1 if stale else 0


def write_image(path: Path) -> int:
    """Write the contract with its imports and comments, as buf reads it."""
    includes = [ROOT, SITE_PACKAGES, resources.files(grpc_tools) / "_proto"]
    with tempfile.NamedTemporaryFile(suffix=".binpb") as known:
        known.write(validate_descriptors())
        known.flush()
        return run_protoc(
            f"--descriptor_set_in={known.name}",
            *(f"-I{folder}" for folder in includes),
            f"--descriptor_set_out={path}",
            "--include_imports",
            "--include_source_info",
            *files(),
        )


def files() -> list[str]:
    """Return the files of the contract, as they import each other."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("grounds/*/v1/*.proto"))


def run_protoc(*arguments: str) -> int:
    """Run protoc of grpcio-tools; raise CalledProcessError if it fails."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    return subprocess.run(command, check=True, cwd=ROOT).returncode


def validate_descriptors() -> bytes:
    """Return buf/validate/validate.proto and what it imports as a FileDescriptorSet."""
    imports = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)
    known = descriptor_pb2.FileDescriptorSet()
    for module in imports:
        module.DESCRIPTOR.CopyToProto(known.file.add())
    known.file.add().ParseFromString(desc().proto.to_binary())
    return known.SerializeToString()


def buf(*arguments: str) -> int:
    """Run buf; what it finds, it prints."""
    executable = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    return subprocess.run([executable, *arguments], check=False, cwd=ROOT).returncode


def read_or_empty(path: Path) -> bytes:
    """Give the file's bytes, or none where there is no file."""
    return path.read_bytes() if path.exists() else b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
