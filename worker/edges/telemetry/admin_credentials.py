"""The token and the certificate of the admin port, re-read when their files change.

A certificate lives for weeks or hours and a token is rotated, but a restart of the worker costs a
rebalance. A file that is unusable changes nothing: the port keeps what it has, and says so once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from worker.core.model.secret_text import Unusable, token_in
from worker.edges.kafka.client import Secret
from worker.edges.watched_file import WATCH_SECONDS, NotUsable, WatchedFiles, secret_bytes
from worker.tls_files import TlsFiles, TlsFilesError, server_context

logger = logging.getLogger("worker.admin")


class AdminCredentials:
    """What a client must show, and what the server shows.

    Args:
        token: the token from the configuration; None: everybody may read.
        token_file: the file of the token, if it may change.
        tls: the files of the certificate; None: HTTP without TLS.
        learn: takes a new token before it is used, to keep it out of the log.
    """

    def __init__(
        self,
        token: Secret | None = None,
        token_file: Path | None = None,
        tls: TlsFiles | None = None,
        learn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._token = token
        self._tls = tls
        self._learn = learn
        self._current: ssl.SSLContext | None = None
        self._token_files: WatchedFiles | None = None
        if token_file is not None:
            self._token_files = WatchedFiles([token_file], partial(self._read_token, token_file))
        self._tls_files: WatchedFiles | None = None
        if tls is not None:
            paths = filter(None, (tls.certificate_file, tls.key_file))
            self._tls_files = WatchedFiles(paths, partial(self._read_certificate, tls))

    @property
    def token(self) -> str | None:
        """The current token; None: everybody may read."""
        return self._token.value if self._token is not None else None

    def context(self) -> ssl.SSLContext | None:
        """Return the context for the listening sockets; None: HTTP without TLS.

        Each handshake takes the latest certificate: the context that is listened with hands over
        to a whole new one, so that no certificate is ever used with the key of another.

        Raises:
            TlsFilesError: a file is unusable.
        """
        if self._tls is None:
            return None
        self._current = server_context(self._tls)
        listening = server_context(self._tls)
        listening.sni_callback = self._hand_over
        return listening

    async def run(self) -> None:
        """Watch the files until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Read what has changed since it was last read."""
        if self._token_files is not None:
            match await self._token_files.check():
                case "changed":
                    logger.info("admin_token_changed")
                case NotUsable(detail):
                    logger.warning("admin_token_not_usable", extra={"detail": detail})
                case None:
                    pass
        if self._tls_files is not None:
            match await self._tls_files.check():
                case "changed":
                    logger.info("admin_certificate_changed")
                case NotUsable(detail):
                    logger.warning("admin_certificate_not_usable", extra={"detail": detail})
                case None:
                    pass

    async def _read_token(self, path: Path) -> str | None:
        """Take the token of the file; returns what is wrong with it."""
        found = token_in(await asyncio.to_thread(secret_bytes, path))
        if isinstance(found, Unusable):
            return f"{path} {found.message}"
        self._learn(found)
        self._token = Secret(found)
        return None

    async def _read_certificate(self, tls: TlsFiles) -> str | None:
        """Take the certificate of the files; returns what is wrong with them."""
        try:
            self._current = await asyncio.to_thread(server_context, tls)
        except TlsFilesError as error:
            return f"{error.setting}: {error}"
        return None

    def _hand_over(
        self, handshake: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext
    ) -> None:
        """Give a handshake the latest certificate; it is called without a server name as well."""
        if self._current is not None:
            handshake.context = self._current
