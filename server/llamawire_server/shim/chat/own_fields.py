"""What llamawire takes beside the fields of an API that is translated onto chat."""

from __future__ import annotations

from typing import Any

from llamawire_server.shim.chat.sampling_fields import FineSamplingFields
from llamawire_server.shim.http.waiting_fields import WaitingFields


class OwnFields(WaitingFields, FineSamplingFields):
    """Fields that chat requests have, and that such an API takes beside its own, or as its own."""

    chat_template_kwargs: dict[str, Any] | None = None
    """More variables for the chat template, such as {"enable_thinking": false}. llamawire's own."""
