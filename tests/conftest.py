"""What holds for all tests."""

import os

# gRPC's C core reads it when it is first imported: connections that close are no news in tests.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
