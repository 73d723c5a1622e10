"""The gRPC side: thin servicers over a `service.interface.Service`, and what every call has in common."""
