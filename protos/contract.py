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
    return protoc(f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}")


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
    return protoc(f"--descriptor_set_out={path}", "--include_imports", "--include_source_info")


def protoc(*outputs: str) -> int:
    """Run protoc over the whole contract."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("grounds/*/v1/*.proto"))
    includes = resources.files(grpc_tools) / "_proto"
    with tempfile.NamedTemporaryFile(suffix=".binpb") as known:
        known.write(validate_descriptors())
        known.flush()
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={known.name}"]
        command += [f"-I{ROOT}", f"-I{SITE_PACKAGES}", f"-I{includes}", *outputs, *files]
        return subprocess.run(command, check=True, cwd=ROOT).returncode


def validate_descriptors() -> bytes:
    """Give buf/validate/validate.proto and what it imports as a FileDescriptorSet."""
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
