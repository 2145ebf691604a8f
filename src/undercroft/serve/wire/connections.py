"""Connections of clients that mean harm: how long and how large the head of a request may be.

uvicorn waits for it as long as it likes, so that a few hundred half-sent requests (slow loris)
would take every file descriptor there is, and keeps as many headers as come. `exchange` sees to
bodies and to clients that do not read.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 20.0  # from the first byte; of a new connection, from its beginning
MAX_HEAD_BYTES = 256_000  # of headers that did not come in one piece


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose request does not begin properly."""

    _patience: asyncio.TimerHandle | None = None
    _is_in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The headers are too large.")
        elif self._patience is None:
            self._await_head()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        self._lose_patience()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose_patience()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_WITHIN_S, self.timeout_keep_alive_handler)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
