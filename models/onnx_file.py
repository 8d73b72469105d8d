"""Checks an ONNX file before ONNX Runtime opens it.

A bundle is untrusted, because anybody who can write to the folder of the catalog can add a bundle, and a replay opens
even bundles that were never activated. ONNX Runtime itself would follow a file's references to any file below the
working directory, and would run a loop that never ends. So a file may use only the operators and domains that the
exporter writes. It may not have subgraphs, functions, or tensors whose data are in other files.

The file is read in the protobuf wire format, because this package does not depend on protobuf. Field numbers are those
of `onnx.proto3` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3); the wire format is described at
https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from typing import Final

from models.errors import BundleInvalid

_FILE_BYTES_MAX: Final = 256 * 1024 * 1024  # the exporter writes at most 220 MB and the trees of the margin
_OPERATORS: Final = frozenset(
    {
        ("ai.onnx.ml", "ArrayFeatureExtractor"),
        ("ai.onnx.ml", "TreeEnsemble"),
        *(
            ("", name)
            for name in (
                "Abs",
                "Add",
                "And",
                "BitwiseAnd",
                "Cast",
                "Concat",
                "Constant",
                "Div",
                "Equal",
                "Expand",
                "Floor",
                "Gather",
            )
        ),
        *(
            ("", name)
            for name in (
                "GatherElements",
                "Greater",
                "GreaterOrEqual",
                "IsNaN",
                "Less",
                "LessOrEqual",
                "MatMul",
                "Max",
                "Min",
                "Mod",
            )
        ),
        *(("", name) for name in ("Mul", "NonZero", "Not", "Or", "ReduceProd")),
        *(
            ("", name)
            for name in (
                "ReduceSum",
                "Reshape",
                "ScatterElements",
                "ScatterND",
                "Shape",
                "Slice",
                "Split",
                "Sub",
                "Unsqueeze",
                "Where",
            )
        ),
    }
)
_VERSIONS_MAX: Final = {"": 21, "ai.onnx.ml": 5}  # the newest allowed version of each operator set

_ORT_MARK, _ORT_MARK_START = b"ORTM", 4  # by these bytes ONNX Runtime recognizes a file in its own format
_TAG_MAX = 2**32 - 1  # a parser that drops higher bits would read a different field number

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3 and 4) do not occur in ONNX
_VARINT_BYTES_MAX = 10
# Field numbers, by message.
_MODEL_GRAPH, _MODEL_OPERATOR_SET, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 8, 20, 25
_SET_DOMAIN, _SET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE_TENSOR = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE_TENSOR, _ATTRIBUTE_SPARSE_TENSORS = 22, 23
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14


def check_onnx_file(content: bytes) -> None:
    """Check that a file uses only what the exporter writes.

    Raises:
        BundleInvalid: The file is too large or not readable, has an operator or an operator set that the exporter does
            not use, or has a subgraph, a function, a sparse tensor or data outside the file.
    """
    if len(content) > _FILE_BYTES_MAX:
        raise BundleInvalid(f"an ONNX file may have up to {_FILE_BYTES_MAX:,} bytes, got {len(content):,}")
    if content[_ORT_MARK_START : _ORT_MARK_START + len(_ORT_MARK)] == _ORT_MARK:
        raise BundleInvalid("an ONNX file may not be in the ORT format, which ONNX Runtime would read instead of ONNX")
    for number, value in _fields(memoryview(content)):
        if number == _MODEL_GRAPH:
            _check_graph(_message(value))
        elif number == _MODEL_OPERATOR_SET:
            _check_operator_set(_message(value))
        elif number in {_MODEL_TRAINING, _MODEL_FUNCTION}:
            raise BundleInvalid("an ONNX file may not define functions or training")


def _check_operator_set(message: memoryview) -> None:
    """Check the domain and the version of an operator set."""
    domain, version = "", 0
    for number, value in _fields(message):
        if number == _SET_DOMAIN:
            domain = _text(value)
        elif number == _SET_VERSION and isinstance(value, int):
            version = value
    if not 0 < version <= _VERSIONS_MAX.get(domain, 0):
        raise BundleInvalid(f"the operator set {domain or 'ai.onnx'!r} {version} is not one that the exporter uses")


def _check_graph(message: memoryview) -> None:
    """Check the nodes and the tensors of the graph."""
    for number, value in _fields(message):
        if number == _GRAPH_NODE:
            _check_node(_message(value))
        elif number == _GRAPH_TENSOR:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE_TENSOR:
            raise BundleInvalid("an ONNX file may not have sparse tensors")


def _check_node(message: memoryview) -> None:
    """Check the operator of a node and its attributes."""
    operator, domain = "", ""
    for number, value in _fields(message):
        if number == _NODE_OPERATOR:
            operator = _text(value)
        elif number == _NODE_DOMAIN:
            domain = _text(value)
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))
    if ("" if domain == "ai.onnx" else domain, operator) not in _OPERATORS:
        raise BundleInvalid(f"the operator {domain or 'ai.onnx'}.{operator} is not one that the exporter writes")


def _check_attribute(message: memoryview) -> None:
    """Check the tensors of an attribute. A subgraph would be control flow, such as a loop."""
    for number, value in _fields(message):
        if number in {_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS}:
            _check_tensor(_message(value))
        elif number in {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
            raise BundleInvalid("an ONNX file may not have subgraphs")
        elif number in {_ATTRIBUTE_SPARSE_TENSOR, _ATTRIBUTE_SPARSE_TENSORS}:
            raise BundleInvalid("an ONNX file may not have sparse tensors")


def _check_tensor(message: memoryview) -> None:
    """Check that the data of a tensor is inside the file."""
    for number, value in _fields(message):
        if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
            raise BundleInvalid("an ONNX file may not refer to data in other files")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field of a message. The value is an int for a varint, otherwise bytes."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if tag > _TAG_MAX or not number:
            raise BundleInvalid("the ONNX file is not readable")
        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
            yield number, value
            continue
        if wire_type == _LENGTH:
            length, position = _read_varint(message, position)
        elif wire_type in {_FIXED64, _FIXED32}:
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise BundleInvalid("the ONNX file is not readable")
        if length > len(message) - position:
            raise BundleInvalid("the ONNX file is not readable")
        yield number, message[position : position + length]
        position += length


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        if position + index >= len(message):
            break
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit is set if another byte follows
            return value, position + index + 1
    raise BundleInvalid("the ONNX file is not readable")


def _message(value: int | memoryview) -> memoryview:
    """Return the bytes of a field that must be a message or a text."""
    if isinstance(value, int):
        raise BundleInvalid("the ONNX file is not readable")
    return value


def _text(value: int | memoryview) -> str:
    """Return the text of a field."""
    return bytes(_message(value)).decode("utf-8", "replace")
