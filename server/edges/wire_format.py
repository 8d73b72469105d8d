"""Checks the encoded bytes of a request before the request is decoded.

A request of the allowed size can contain more than 100,000 list elements. Decoding and validating such a request would
take seconds. The check below reads only field numbers, wire types and lengths. It stops at the first field that is
unknown, repeated or has too many elements, so it never reads many more fields than a valid request can have.

A repeated field is rejected because only its last value would be used, while a record, which contains the bytes of the
request as received, would contain all of them.
"""

from dataclasses import dataclass
from functools import cache

from google.protobuf import empty_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from server.errors import Violation

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX = 10
_CONTINUES = 128  # this bit is set in every byte of an encoded number except the last one
_CONTINUATION_BYTES = bytes(range(_CONTINUES, 256))
_MAP_KEY, _MAP_VALUE = 1, 2  # the field numbers of a map entry
# Numbers of the extension `buf.validate.field` and of its fields, see buf/validate/validate.proto. The generated code
# does not contain the extension, so the rules are unknown fields of a field's options.
_RULES, _REPEATED_RULES, _MAP_RULES, _COUNT_MAX, _ITEMS_UNIQUE = 1159, 18, 19, 2, 3


@dataclass(frozen=True, slots=True)
class _FieldShape:
    """The encoding of a field that the check accepts.

    Attributes:
        name: The field's name.
        identity: The field number or, in a oneof, the name of the oneof. A message has at most one field of each oneof.
        wire_types: The wire types that a decoder accepts for this field.
        count_max: Largest number of elements or entries; 0 if the field is neither a list nor a map.
        is_map: True if the field is a map.
        packed_type: Wire type of the elements of a packed list; None if the field is never packed.
        message: Shape of the message in the field; None if the field contains no message.
    """

    name: str
    identity: int | str
    wire_types: frozenset[int]
    count_max: int
    is_map: bool
    packed_type: int | None
    message: "MessageShape | None"


@dataclass(frozen=True, slots=True)
class MessageShape:
    """The fields that an encoded message may have.

    Attributes:
        fields: The fields by number.
    """

    fields: dict[int, _FieldShape]


@cache
def shape_of_message(descriptor: Descriptor) -> MessageShape:
    """Return the shape of a request type, in which every list and map must have a largest size.

    Raises:
        ValueError: A list or map has no largest size in the .proto files.
    """
    return MessageShape({field.number: _shape_of_field(field) for field in descriptor.fields})


def find_encoding_problem(content: bytes, shape: MessageShape) -> Violation | None:
    """Return the first field that is unknown, is repeated, or has too many elements; None if there is no such field.

    Raises:
        DecodeError: The bytes are not an encoded message.
    """
    try:
        _EncodedMessage(content).check(shape, 0, len(content), "")
    except _EncodingProblem as problem:
        return problem.violation
    return None


def split_elements(content: bytes, shape: MessageShape) -> tuple[list[bytes], Violation | None]:
    """Split a message whose only field is a list of messages. The elements themselves are not checked.

    Returns:
        The encoded elements, and None; or no elements, and the problem of the message.

    Raises:
        DecodeError: The bytes are not an encoded message.
    """
    try:
        return _EncodedMessage(content).split(shape), None
    except _EncodingProblem as problem:
        return [], problem.violation


class _EncodingProblem(Exception):
    """Raised to end the check at the first problem."""

    def __init__(self, field: str, problem: str, kind: str) -> None:
        super().__init__(problem)
        self.violation = Violation(field, problem, kind)


class _EncodedMessage:
    """An encoded message whose fields are checked one by one."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def check(self, shape: MessageShape, position: int, end: int, path: str) -> dict[int, tuple[int, int]]:
        """Check the message between two positions; return the positions of its fields by field number."""
        seen: dict[int | str, int] = {}
        ranges: dict[int, tuple[int, int]] = {}
        keys: set[tuple[int, bytes]] = set()
        while position < end:
            tag, position = self._read_varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            field = shape.fields.get(number)
            if field is None or wire_type not in field.wire_types:
                raise _unknown_field(path)
            start, position = self._value_range(wire_type, position, end)
            count = seen.get(field.identity, 0)
            field_path = f"{path}.{field.name}" if path else field.name
            if field.message is not None:
                inner_path = f"{field_path}[{count}]" if field.count_max else field_path
                inner = self.check(field.message, start, position, inner_path)
                if field.is_map:
                    key = (number, self._content[slice(*inner.get(_MAP_KEY, (0, 0)))])
                    if key in keys:
                        raise _EncodingProblem(field_path, "must not contain a key twice", "REPEATED_KEY")
                    keys.add(key)
            seen[field.identity] = count = count + self._element_count(field, wire_type, start, position)
            if count > (field.count_max or 1):
                raise _count_problem(field, field_path)
            ranges[number] = (start, position)
        return ranges

    def split(self, shape: MessageShape) -> list[bytes]:
        """Return the elements of the message's only field."""
        (field,) = shape.fields.values()
        position, elements = 0, list[bytes]()
        while position < len(self._content):
            tag, position = self._read_varint(position, len(self._content))
            if tag >> 3 not in shape.fields or tag & 7 not in field.wire_types:
                raise _unknown_field("")
            start, position = self._value_range(tag & 7, position, len(self._content))
            if len(elements) == field.count_max:
                raise _count_problem(field, field.name)
            elements.append(self._content[start:position])
        if not elements:
            raise _EncodingProblem(field.name, "must contain at least 1 element", "REPEATED_MIN_ITEMS")
        return elements

    def _element_count(self, field: _FieldShape, wire_type: int, start: int, end: int) -> int:
        """Return the number of elements that an encoded field adds to a list, or 1 for any other field.

        An empty part of a packed list counts as one element, because a request could contain 100,000 of them.
        """
        if field.packed_type is None or wire_type != _LENGTH:
            return 1
        if field.packed_type == _VARINT:
            return max(len(self._content[start:end].translate(None, _CONTINUATION_BYTES)), 1)
        return max((end - start) // _FIXED_BYTES[field.packed_type], 1)

    def _value_range(self, wire_type: int, position: int, end: int) -> tuple[int, int]:
        """Return the positions of the first byte of a value and of the byte after the value."""
        start = position
        if wire_type == _LENGTH:
            length, start = self._read_varint(position, end)
            stop = start + length
        elif wire_type == _VARINT:
            _, stop = self._read_varint(position, end)
        else:
            stop = start + _FIXED_BYTES[wire_type]
        if stop > end:
            raise DecodeError("a field is longer than its message")
        return start, stop

    def _read_varint(self, position: int, end: int) -> tuple[int, int]:
        """Return the number that begins at a position, and the position of the next byte."""
        number = shift = 0
        for index in range(position, min(end, position + _VARINT_BYTES_MAX)):
            byte = self._content[index]
            number |= (byte & ~_CONTINUES) << shift
            if not byte & _CONTINUES:
                return number, index + 1
            shift += 7
        raise DecodeError("a number is incomplete or too long")


def _shape_of_field(field: FieldDescriptor) -> _FieldShape:
    """Return the shape of a field."""
    wire_type = _wire_type(field)
    is_packable = field.is_repeated and wire_type != _LENGTH
    oneof = field.containing_oneof
    return _FieldShape(
        name=field.name,
        identity=oneof.name if oneof is not None else field.number,
        wire_types=frozenset({wire_type, _LENGTH} if is_packable else {wire_type}),
        count_max=_largest_count(field) if field.is_repeated else 0,
        is_map=_is_map(field),
        packed_type=wire_type if is_packable else None,
        message=None if field.message_type is None else shape_of_message(field.message_type),
    )


def _wire_type(field: FieldDescriptor) -> int:
    """Return the wire type of a single value of a field."""
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64}:
        return _FIXED64
    if field.type in {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32}:
        return _FIXED32
    is_delimited = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}
    return _LENGTH if is_delimited else _VARINT


def _is_map(field: FieldDescriptor) -> bool:
    """Return true if a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _largest_count(field: FieldDescriptor) -> int:
    """Return the largest number of elements of a list or map that the rules in the .proto files allow."""
    rules = _unknown_values(_unknown_values(field.GetOptions()).get(_RULES, b""))
    of_kind = _unknown_values(rules.get(_MAP_RULES if _is_map(field) else _REPEATED_RULES, b""))
    if _COUNT_MAX in of_kind:
        return int(of_kind[_COUNT_MAX])
    if field.enum_type is not None and of_kind.get(_ITEMS_UNIQUE):
        return len(field.enum_type.values)
    raise ValueError(
        f"{field.full_name}: add the rule max_items or max_pairs, because requests must have a largest size"
    )


def _unknown_values(encoded: bytes | Message) -> dict[int, bytes]:
    """Return the unknown fields of a message, or all fields of an encoded message, by number."""
    message = empty_pb2.Empty.FromString(encoded) if isinstance(encoded, bytes) else encoded
    fields = UnknownFieldSet(message)
    return {fields[index].field_number: fields[index].data for index in range(len(fields))}


def _unknown_field(path: str) -> _EncodingProblem:
    """Return the problem of a message with a field that this release does not know."""
    return _EncodingProblem(path, "has unknown fields; use the .proto files of this server's release", "UNKNOWN_FIELD")


def _count_problem(field: _FieldShape, path: str) -> _EncodingProblem:
    """Return the problem of a field that occurs too often."""
    if field.is_map:
        return _EncodingProblem(path, f"must contain at most {field.count_max} entries", "MAP_MAX_PAIRS")
    if field.count_max:
        return _EncodingProblem(path, f"must contain at most {field.count_max} elements", "REPEATED_MAX_ITEMS")
    return _EncodingProblem(path, "must occur only once, and only one field of a oneof may be set", "REPEATED_FIELD")
