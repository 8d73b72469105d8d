"""Stands in for the generated module of buf/validate/validate.proto, which protovalidate does not ship.

Our generated modules import it before they register themselves. The descriptor is the one that
protovalidate itself carries, so the rules that it reads are the rules that protoc compiled.
"""

from google.protobuf import descriptor_pool, descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate._gen.buf.validate.validate_pb import desc

# The files that validate.proto imports must be in the pool before it.
IMPORTS = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)
SERIALIZED = desc().proto.to_binary()
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(SERIALIZED)
