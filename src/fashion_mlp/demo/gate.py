"""What may come in: no body that is too long to be held in memory, and no file that would be stored."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Gate:
    """ASGI middleware that refuses a request by its head, before anything of its body is read.

    Args:
        app: what it stands before.
        max_bytes: of a body, whose length must be given.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if "upload" in scope["path"]:  # Gradio's own way, which writes files; the page hands over data: URLs
            return PlainTextResponse("Files are not stored here.", 404)
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return PlainTextResponse("The length of the body is missing.", 411)
        if int(headers.get(b"content-length", 0)) > self.max_bytes:
            return PlainTextResponse(f"The body has more than {self.max_bytes:,} bytes.", 413)
        return None
