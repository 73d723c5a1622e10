"""Web pages that come from elsewhere: the CORS protocol (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from llamawire_server.service.interface import REQUEST_ID_HEADER

_METHODS = ("DELETE", "GET", "POST")

# What OpenAI's and Anthropic's clients look for in answers, beside what browsers show to every script.
_EXPOSED_HEADERS = (REQUEST_ID_HEADER, "request-id", "retry-after", "retry-after-ms", "x-should-retry")


def allow_cross_origin(app: FastAPI, origins: Collection[str]) -> None:
    """Let scripts of pages from these origins read every answer, failures and streams included; `*`: from all.

    Must be the last middleware to be added: it is the outermost one then. Without origins nothing is added, and
    browsers refuse to show answers to scripts.
    """
    if not origins:
        return
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=_METHODS,
        # Whatever headers a script asks for: clients have ever more of their own, and none of them is trusted here.
        allow_headers=("*",),
        expose_headers=_EXPOSED_HEADERS,
        # Older versions of Chrome ask for it where a page of the Web calls a server in a private network.
        allow_private_network=True,
    )
