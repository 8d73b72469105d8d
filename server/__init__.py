"""Decides, explains, writes down: the gRPC server and its stores."""
