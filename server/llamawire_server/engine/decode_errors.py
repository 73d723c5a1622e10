"""What is raised where llama.cpp could not compute."""


class DecodeError(Exception):
    """A batch could not be computed. What it had stored in the KV cache is undone by `Runner.cut`."""


class CacheFullError(DecodeError):
    """No cells were found for a batch."""
