"""The gRPC server, which decides, explains and records, and its stores."""

import os

# The core of gRPC writes lines of its own to standard error, from the threads that serve all calls. A caller can cause such lines.
# If the reader of standard error stops, the write would block these threads, unlike a line of `server.application_log`.
# The core reads this variable when it is first imported, which happens after this package is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
