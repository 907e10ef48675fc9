"""One blob on its way into a repository."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import urlencode

import requests

from runbake.errors import DigestMismatch, RegistryAuthError, RegistryError
from runbake.image.blob import Blob, Digest
from runbake.registry.failure import Temporary, error_of
from runbake.registry.transport import Body, Meter, Transport

Pushed = Literal["exists", "mounted", "uploaded"]

_STARTED = (201, 202)
_NOT_MOUNTED = (400, 401, 403, 404, 405)


def pull_scope(name: str) -> str:
    """The right to read a repository.

    Source: distribution/distribution, "Token Scope Documentation".
    """
    return f"repository:{name}:pull"


def push_scope(name: str) -> str:
    """The right to read and write a repository."""
    return f"repository:{name}:pull,push"


class Upload:
    """Makes a repository hold a blob.

    Each attempt begins a new upload session, as one that broke cannot be trusted, and first asks whether
    the attempt before did not arrive after all.
    """

    def __init__(
        self,
        transport: Transport,
        name: str,
        blob: Blob,
        *,
        mount_from: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._transport, self._name, self._blob = transport, name, blob
        self._mount_from = mount_from if mount_from != name else ""
        self._meter = Meter(progress)
        self._sent = False

    def attempt(self) -> Pushed:
        """Find the blob there, mount it, or send it, once.

        Raises:
            Temporary: another attempt may go better.
        """
        if self._is_there():
            if not self._sent:
                return "exists"
            self._meter.reach(self._blob.size_bytes)
            return "uploaded"
        if self._mount_from and (mounted := self._mounted()) is not None:
            if mounted.status_code == 201:
                return "mounted"
            self._send(mounted, self._mount_scope)
        else:
            self._send(self._begin("", push_scope(self._name)), push_scope(self._name))
        return "uploaded"

    @property
    def _mount_scope(self) -> str:
        return f"{push_scope(self._name)} {pull_scope(self._mount_from)}"

    def _is_there(self) -> bool:
        answer = self._transport.attempt(
            "HEAD",
            f"/v2/{self._name}/blobs/{self._blob.digest}",
            scope=pull_scope(self._name),
            ok=(200, 404),
        )
        return answer.status_code == 200

    def _mounted(self) -> requests.Response | None:
        """The answer to a mount, which may be an upload session; None when it was refused."""
        query = f"?{urlencode({'mount': self._blob.digest, 'from': self._mount_from})}"
        try:
            answer = self._begin(query, self._mount_scope, ok=(*_STARTED, *_NOT_MOUNTED))
        except RegistryAuthError:
            # The token service gives no right to the other repository; ours may still be open.
            answer = None
        if answer is None or answer.status_code in _NOT_MOUNTED:
            self._mount_from = ""
            return None
        return answer

    def _begin(self, query: str, scope: str, ok: tuple[int, ...] = _STARTED) -> requests.Response:
        return self._transport.attempt(
            "POST",
            f"/v2/{self._name}/blobs/uploads/{query}",
            scope=scope,
            ok=ok,
            headers={"Content-Length": "0"},
        )

    def _send(self, started: requests.Response, scope: str) -> None:
        self._sent = True
        # The scope of the session: another one would meet its 401 only after the whole body.
        answer = self._transport.attempt(
            "PUT",
            self._target(started),
            scope=scope,
            ok=(201, 204, 404, 416),
            headers={"Content-Type": "application/octet-stream"},
            body=Body(size_bytes=self._blob.size_bytes, open=self._blob.open, meter=self._meter),
        )
        if answer.status_code in (404, 416):
            # The registry forgot the session, or another process wrote into it.
            raise Temporary(error_of("PUT", answer, self._transport.host))
        compare_digest(answer, self._blob.digest, f"blob of {self._transport.host}/{self._name}")

    def _target(self, started: requests.Response) -> str:
        location = started.headers.get("Location", "")
        if not location:
            raise RegistryError(f"the registry gave no address to send a blob of {self._name} to")
        url = self._transport.absolute(location, started.url)
        return f"{url}{'&' if '?' in url else '?'}{urlencode({'digest': self._blob.digest})}"


def compare_digest(answer: requests.Response, digest: Digest, what: str) -> None:
    """Fail when the registry says that it keeps other bytes.

    Raises:
        DigestMismatch: names both digests.
    """
    told = answer.headers.get("Docker-Content-Digest", "")
    if told.startswith("sha256:") and told != digest:
        raise DigestMismatch(
            f"the registry keeps the {what} as {told[:80]}, not {digest}",
            hint="its storage is damaged, or something between changes what is sent",
        )
