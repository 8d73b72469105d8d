"""The gRPC server, which decides, explains and records, and its stores."""
