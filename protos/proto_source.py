"""Writes the source of a .proto file from its descriptor.

protovalidate ships the descriptor of buf/validate/validate.proto but not its source, which compilers of other languages
need. The writer supports the constructs that validate.proto uses: messages, oneofs, enums, extensions, reserved names and
options. It does not support nested types, maps, groups, services and default values, and raises ValueError for them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_encoding, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {number: name.removeprefix("TYPE_").lower() for name, number in _Field.Type.items()}
_LABELS = {_Field.LABEL_OPTIONAL: "optional ", _Field.LABEL_REQUIRED: "required ", _Field.LABEL_REPEATED: "repeated "}
_NAMED = {_Field.TYPE_MESSAGE, _Field.TYPE_ENUM}
_FIELD_NUMBERS_END = 536_870_912  # exclusive end of a range that the source writes as `to max`


def proto_source(files: descriptor_pb2.FileDescriptorSet, name: str) -> str:
    """Return the source of one file, without comments.

    Args:
        files: The file and all files that it imports. Each file comes after the files that it imports.
        name: Name of the file, as in an import statement.

    Raises:
        ValueError: The file uses a construct that is not supported.
    """
    return _SourceWriter(files).source(next(file for file in files.file if file.name == name))


class _SourceWriter:
    """Writes the source of one file. Its pool contains the imports, so it can write options by the names of their extensions."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.AddSerializedFile(file.SerializeToString())

    def source(self, file: descriptor_pb2.FileDescriptorProto) -> str:
        """Return the source of a file."""
        if file.service or file.edition:
            raise ValueError(f"{file.name}: services and editions are not covered")
        blocks = [
            f'syntax = "{file.syntax or "proto2"}";',
            f"package {file.package};",
            "\n".join(f'import "{name}";' for name in file.dependency),
            "\n".join(f"option {option};" for option in self._options(file.options)),
            *("\n".join(self._extend(extension)) for extension in file.extension),
            *("\n".join(self._message(message)) for message in file.message_type),
            *("\n".join(self._enum(enum)) for enum in file.enum_type),
        ]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def _message(self, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
        """Yield the lines of a message."""
        if message.nested_type or message.enum_type or message.extension:
            raise ValueError(f"{message.name}: nested types are not covered")
        yield f"message {message.name} {{"
        yield from (f"  option {option};" for option in self._options(message.options))
        yield from _reserved_statements(message.reserved_range, message.reserved_name, inclusive=False)
        for extensions in message.extension_range:
            end = "max" if extensions.end == _FIELD_NUMBERS_END else extensions.end - 1
            yield f"  extensions {extensions.start} to {end};"
        written = set()
        for field in message.field:
            if not field.HasField("oneof_index"):
                yield f"  {self._field(field)}"
            elif field.oneof_index not in written:  # write the oneof in place of its first field, which keeps the order
                written.add(field.oneof_index)
                yield from self._oneof(message, field.oneof_index)
        yield "}"

    def _oneof(self, message: descriptor_pb2.DescriptorProto, index: int) -> Iterator[str]:
        """Yield the lines of a oneof."""
        oneof = message.oneof_decl[index]
        yield f"  oneof {oneof.name} {{"
        yield from (f"    option {option};" for option in self._options(oneof.options))
        for field in message.field:
            if field.HasField("oneof_index") and field.oneof_index == index:
                yield f"    {self._field(field, labelled=False)}"
        yield "  }"

    def _extend(self, extension: _Field) -> Iterator[str]:
        """Yield the lines of an extension."""
        yield f"extend {extension.extendee} {{"
        yield f"  {self._field(extension)}"
        yield "}"

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
        """Yield the lines of an enum."""
        yield f"enum {enum.name} {{"
        yield from (f"  option {option};" for option in self._options(enum.options))
        yield from _reserved_statements(enum.reserved_range, enum.reserved_name, inclusive=True)
        for value in enum.value:
            yield f"  {value.name} = {value.number}{self._bracket_options(value.options)};"
        yield "}"

    def _field(self, field: _Field, *, labelled: bool = True) -> str:
        """Return the line of a field."""
        if field.type == _Field.TYPE_GROUP or field.HasField("default_value") or field.proto3_optional:
            raise ValueError(f"{field.name}: groups, defaults and optional fields of proto3 are not covered")
        label = _LABELS[field.label] if labelled else ""
        kind = field.type_name if field.type in _NAMED else _SCALARS[field.type]
        return f"{label}{kind} {field.name} = {field.number}{self._bracket_options(field.options)};"

    def _bracket_options(self, options: Message) -> str:
        """Return the options of a field or an enum value in brackets; "" if there are none."""
        written = ", ".join(self._options(options))
        return f" [{written}]" if written else ""

    def _options(self, options: Message) -> Iterator[str]:
        """Yield each option as `name = value`. Our own pool parses the options again, because only it knows the extensions."""
        kind = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name))
        for field, value in kind.FromString(options.SerializeToString()).ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            yield f"{name} = {_literal(field, value)}"


def _reserved_statements(ranges: Iterable[Any], names: Iterable[str], *, inclusive: bool) -> Iterator[str]:
    """Yield the reserved numbers and names. `end` is exclusive in the ranges of messages and inclusive in those of enums."""
    for each in ranges:
        yield f"  reserved {each.start} to {each.end if inclusive else each.end - 1};"
    yield from (f'  reserved "{name}";' for name in names)


def _literal(field: FieldDescriptor, value: Any) -> str:
    """Return the value of an option, in the text format."""
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return f"{{ {text_format.MessageToString(value, as_one_line=True)} }}"
    if field.type == FieldDescriptor.TYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == FieldDescriptor.TYPE_STRING:
        return '"' + text_encoding.CEscape(value, as_utf8=True) + '"'
    return str(value).lower()
