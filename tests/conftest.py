"""What holds for all tests."""

import os
import signal

from hypothesis import settings

# gRPC's C core reads it when it is first imported: connections that close are no news in tests.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# A job in the background is started with Ctrl-C ignored, and so are all programs that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's business.
# `--hypothesis-profile thorough` is for whoever has changed what is tested so.
settings.register_profile("llamawire", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("llamawire")
