"""The gRPC edge of the server: the interceptor, the servicers, and all code that reads or writes protobuf messages."""
