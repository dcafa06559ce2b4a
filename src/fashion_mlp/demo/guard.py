"""What of the server can be reached, and from where."""

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# The routes that the page uses. Gradio has many more: for uploads, recordings, direct calls, monitoring, proxying.
ROUTES = re.compile(
    r"GET /|GET /(assets|static)/.+|GET /(favicon\.ico|manifest\.json|theme\.css)|POST /answer"
    r"|POST /gradio_api/queue/join|GET /gradio_api/(queue/data|app_id|file=.+)"
)


class Guard:
    """ASGI middleware that refuses a request before its body is read, unless the page itself could have sent it.

    Args:
        hosts: accepted names in the Host header, without the port, against DNS rebinding; None accepts any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        app = self.app if scope["type"] == "lifespan" else self._refusal(scope) or self.app
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and re.sub(r":\d*$", "", host.lower()) not in self.hosts:
            return PlainTextResponse("Unknown Host header. Start the demo with --host NAME to accept it.", 400)
        if origin is not None and origin.partition("://")[2] != host:
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if not ROUTES.fullmatch(f"{scope['method']} {scope['path']}"):
            return PlainTextResponse("Not found.", 404)
        return None
