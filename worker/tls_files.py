"""The files of a TLS client or server, and for an unusable file: which, why, and what to do.

OpenSSL names neither the file nor the fault ("[SSL] PEM lib"), and asks at the terminal for the
password of a private key. So each file is checked before, and the password is never asked for.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

# The bundle of a whole operating system has a quarter of a megabyte.
FILE_BYTES_MAX = 16 * 1024 * 1024

_CERTIFICATE = b"CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files that the settings name.

    `ca_file` None: the system's certificates. `repr` doesn't show the password.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)


class TlsFilesError(Exception):
    """A file is unusable.

    `setting` names it; the message has the path, what is wrong, and what to do.
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for connections to servers whose certificates and names are verified.

    Raises:
        TlsFilesError: the first unusable file.
    """
    context = ssl.create_default_context() if files.ca_file is None else _trusting(files.ca_file)
    if files.certificate_file is not None:
        _identify(context, files.certificate_file, files)
    return context


def faults_of(files: TlsFiles) -> list[TlsFilesError]:
    """Return all faults of the files at this moment."""
    faults = []
    # Each alone: a bad CA doesn't hide a bad key.
    for part in (TlsFiles(ca_file=files.ca_file), replace(files, ca_file=None)):
        try:
            tls_context(part)
        except TlsFilesError as error:
            faults.append(error)
    return faults


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of a server with this certificate; clients show none.

    Raises:
        TlsFilesError: the first unusable file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate_file is not None:
        _identify(context, files.certificate_file, files)
    return context


def faults_of_server(files: TlsFiles) -> list[TlsFilesError]:
    """Return the first fault of a server's files at this moment."""
    try:
        server_context(files)
    except TlsFilesError as error:
        return [error]
    return []


def _trusting(path: Path) -> ssl.SSLContext:
    _with_certificate("ssl_ca_file", path)
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        raise TlsFilesError(
            "ssl_ca_file", f"{path} holds a damaged certificate: replace the file"
        ) from None


def _identify(context: ssl.SSLContext, path: Path, files: TlsFiles) -> None:
    setting, key_path = (
        ("ssl_certificate_file", path)
        if files.key_file is None
        else ("ssl_key_file", files.key_file)
    )
    _with_certificate("ssl_certificate_file", path)
    key = _read(setting, key_path)
    if _PRIVATE_KEY not in key:
        advice = (
            "set ssl_key_file to the file of the key"
            if files.key_file is None
            else "such a file begins with -----BEGIN PRIVATE KEY-----"
        )
        raise TlsFilesError(setting, f"{key_path} holds no private key in PEM form: {advice}")
    password = _Password(files.key_password)
    try:
        context.load_cert_chain(path, files.key_file, password)
    except _PasswordMissingError:
        advice = "set ssl_key_password or ssl_key_password_file"
        raise TlsFilesError(setting, f"{key_path} is encrypted: {advice}") from None
    except (OSError, ValueError) as error:
        raise _unusable_identity(error, path, setting, key_path, password) from None


def _unusable_identity(
    error: Exception, path: Path, setting: str, key_path: Path, password: _Password
) -> TlsFilesError:
    try:
        # A certificate that can't be loaded as trusted is damaged itself.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        message = f"{path} holds a damaged certificate: replace the file"
        return TlsFilesError("ssl_certificate_file", message)
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return TlsFilesError(
            setting,
            f"{key_path} is not the key of the certificate in {path}: use a certificate and a "
            "key that belong together",
        )
    if password.is_asked_for:
        return TlsFilesError(
            "ssl_key_password", f"doesn't open {key_path}: set the password of this key"
        )
    return TlsFilesError(setting, f"{key_path} holds a damaged private key: replace the file")


def _with_certificate(setting: str, path: Path) -> None:
    if _CERTIFICATE not in _read(setting, path):
        advice = "such a file begins with -----BEGIN CERTIFICATE-----"
        raise TlsFilesError(setting, f"{path} holds no certificate in PEM form: {advice}")


def _read(setting: str, path: Path) -> bytes:
    try:
        # OpenSSL would wait for a pipe without end.
        if path.exists() and not path.is_file():
            raise TlsFilesError(setting, f"{path} is not a file: set the path of the file")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise TlsFilesError(setting, f"{path} can't be read: {error.strerror}") from None
    except ValueError:
        raise TlsFilesError(setting, "is not a file name") from None
    if len(data) > FILE_BYTES_MAX:
        raise TlsFilesError(
            setting,
            f"{path} is larger than {FILE_BYTES_MAX:,} bytes: set the path of the right file",
        )
    if not data.strip():
        raise TlsFilesError(setting, f"{path} is empty: write the certificate or key to it")
    return data


class _PasswordMissingError(Exception):
    """OpenSSL asks for the password of a private key, and there is none."""


class _Password:
    """Answers OpenSSL's question for the password, in place of the terminal."""

    def __init__(self, password: str | None) -> None:
        self._password = password
        self.is_asked_for = False

    def __call__(self) -> str:
        self.is_asked_for = True
        if self._password is None:
            raise _PasswordMissingError
        return self._password
