"""The token and the certificate of the admin port, re-read when their files change.

A certificate lives for weeks or hours and a token is rotated, but a restart of the worker costs a
rebalance. A file that is unusable changes nothing: the port keeps what it has, and says so once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from worker.core.model.secret_text import Unusable, token_in
from worker.edges.kafka.client import Secret
from worker.edges.watched_file import WATCH_SECONDS, Mark, mark_of, secret_bytes
from worker.tls_files import TlsFiles, TlsFilesError, server_context

logger = logging.getLogger("worker.admin")

# Reads files, after a change or for the first time, and returns what is wrong with them.
Read = Callable[[bool], Awaitable[str | None]]


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
        self._token_file = token_file
        self._tls = tls
        self._learn = learn
        self._marks: dict[tuple[Path, ...], list[Mark]] = {}
        self._errors: dict[tuple[Path, ...], str] = {}
        self._current: ssl.SSLContext | None = None

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
        if self._token_file is not None:
            detail = await self._check((self._token_file,), self._read_token)
            if detail is not None:
                logger.warning("admin_token_not_usable", extra={"detail": detail})
        if self._tls is not None:
            paths = tuple(
                path
                for path in (self._tls.certificate_file, self._tls.key_file)
                if path is not None
            )
            detail = await self._check(paths, self._read_certificate)
            if detail is not None:
                logger.warning("admin_certificate_not_usable", extra={"detail": detail})

    async def _check(self, paths: tuple[Path, ...], read: Read) -> str | None:
        """Read the files if one has changed; what is unusable is read again the next time.

        Returns:
            What is wrong with them, if that is new.
        """
        marks: list[Mark] = []
        try:
            marks = [await mark_of(path) for path in paths]
            if marks == self._marks.get(paths):
                return None
            detail = await read(paths in self._marks)
        except OSError as error:
            # Being replaced, or not readable yet.
            detail = f"can't be read: {error.strerror}"
        known = self._errors.pop(paths, None)
        if detail is None:
            self._marks[paths] = marks
            return None
        self._errors[paths] = detail
        return None if detail == known else detail

    async def _read_token(self, is_changed: bool) -> str | None:
        """Take the token of the file; returns what is wrong with it."""
        if self._token_file is None:
            raise AssertionError("a watched token has a file")
        found = token_in(await secret_bytes(self._token_file))
        if isinstance(found, Unusable):
            return f"{self._token_file} {found.message}"
        self._learn(found)
        self._token = Secret(found)
        if is_changed:
            logger.info("admin_token_changed")
        return None

    async def _read_certificate(self, is_changed: bool) -> str | None:
        """Take the certificate of the files; returns what is wrong with them."""
        if self._tls is None:
            raise AssertionError("a watched certificate has files")
        try:
            self._current = await asyncio.to_thread(server_context, self._tls)
        except TlsFilesError as error:
            return f"{error.setting}: {error}"
        if is_changed:
            logger.info("admin_certificate_changed")
        return None

    def _hand_over(
        self, handshake: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext
    ) -> None:
        """Give a handshake the latest certificate; it is called without a server name as well."""
        if self._current is not None:
            handshake.context = self._current
