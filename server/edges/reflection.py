"""The standard reflection service in both of its versions, v1 and v1alpha.

grpcio-reflection supports only v1alpha. The messages of both versions are encoded identically, so one servicer serves
both. The descriptor of v1 is derived from the descriptor of v1alpha, so that clients can look up the v1 service as
well.
"""

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

_FILE = "grpc/reflection/v1/reflection.proto"
_SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def add_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Add both reflection services to a server.

    Args:
        services: Full names of the services that reflection lists, in addition to the reflection services.
        server: The server to which the reflection services are added.
    """
    v1_descriptor()
    servicer = reflection.aio.ReflectionServicer([*services, *_SERVICE_NAMES])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, methods) for name in _SERVICE_NAMES])


def v1_descriptor() -> FileDescriptor:
    """Return the descriptor of grpc.reflection.v1. If no package has registered it yet, register it."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindFileByName(_FILE)
    except KeyError:
        return pool.AddSerializedFile(_renamed_to_v1().SerializeToString())


def _renamed_to_v1() -> descriptor_pb2.FileDescriptorProto:
    """Return a copy of the v1alpha file in which the file name, the package and all message types are those of v1."""
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    proto.name, proto.package = _FILE, "grpc.reflection.v1"
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in proto.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return proto
