"""The edges of the server: everything that reads or writes messages of the contract, and the gRPC interceptor."""
