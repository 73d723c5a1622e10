"""What every request to a model says of how it waits, whatever it asks for."""

from __future__ import annotations

from llamawire_server.shim.http.request_types import Int32, RequestModel


class WaitingFields(RequestModel):
    """Named and typed as in the gRPC requests."""

    wait_for_model: bool | None = None
    """Whether to wait for a model that is not loaded; false: a 503 at once, while it is being loaded. Default true.
    llamawire's own."""
    priority: Int32 | None = None
    """Where the request stands in the model's line: lower goes first, and one step is worth ten seconds of waiting.
    [-100, 100] vLLM's and llamawire's own."""
