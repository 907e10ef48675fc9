"""A registry: blobs, manifests, tags and referrers, over the distribution protocol.

Source: OCI distribution-spec v1.1.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode, urljoin

import requests

from runbake.errors import DigestMismatch, RegistryError, RegistryUnreachable
from runbake.image.blob import CHUNK_BYTES, Blob, Descriptor, Digest
from runbake.image.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from runbake.registry.credentials import CredentialSource
from runbake.registry.reference import DOCKER_HUB, check_tag
from runbake.registry.transport import Body, Transport

Pushed = Literal["exists", "mounted", "uploaded"]
Progress = Callable[[int], None]

_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_MANIFEST_LIMIT = 8 << 20
"""Registries must take manifests of 4 MiB; what is larger than twice that is not read into memory."""
_UPLOAD_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index as the registry keeps it: exact bytes, whose digest is `digest`."""

    media_type: str
    body: bytes
    digest: Digest


def is_loopback(host: str) -> bool:
    """Whether a registry host (with or without port) is this machine, where plain http is usual."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


class Registry:
    """One registry host.

    Plain http is used for loopback hosts, and for others only when `insecure` says so. Certificates are
    checked against REQUESTS_CA_BUNDLE where that is set.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: CredentialSource,
        insecure: bool | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        plain = is_loopback(host) if insecure is None else insecure
        address = "registry-1.docker.io" if host == DOCKER_HUB else host
        self.host = host
        self._transport = Transport(
            f"{'http' if plain else 'https'}://{address}",
            lambda: credentials.credentials_for(host),
            sleep=sleep,
            clock=clock,
        )

    # --- blobs -------------------------------------------------------------------------------------------

    def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether the repository holds a blob."""
        answer = self._transport.request(
            "HEAD", f"/v2/{name}/blobs/{digest}", scope=_pull(name), ok=(200, 404)
        )
        return answer.status_code == 200

    def push_blob(
        self, name: str, blob: Blob, *, mount_from: str = "", progress: Progress | None = None
    ) -> Pushed:
        """Make the repository hold a blob: find it there, mount it from another repository, or send it.

        Raises:
            DigestMismatch: the registry got other bytes than the digest says.
            RegistryError: the registry refuses.
        """
        if self.has_blob(name, blob.digest):
            return "exists"
        for round_ in range(_UPLOAD_ROUNDS):
            started = self._start_upload(name, blob.digest, mount_from if round_ == 0 else "")
            if started.status_code == 201:
                return "mounted"
            if self._send(name, blob, started, progress, last=round_ == _UPLOAD_ROUNDS - 1):
                return "uploaded"
        raise RegistryError(f"{name}@{blob.digest} could not be sent to {self.host}")

    def _start_upload(self, name: str, digest: Digest, mount_from: str) -> requests.Response:
        query = f"?{urlencode({'mount': digest, 'from': mount_from})}" if mount_from else ""
        scope = _push(name) + (f" {_pull(mount_from)}" if mount_from else "")
        return self._transport.request(
            "POST",
            f"/v2/{name}/blobs/uploads/{query}",
            scope=scope,
            ok=(201, 202),
            headers={"Content-Length": "0"},
        )

    def _send(
        self, name: str, blob: Blob, started: requests.Response, progress: Progress | None, *, last: bool
    ) -> bool:
        # An upload session that broke cannot be trusted; the next round begins a new one.
        location = urljoin(started.url, started.headers["Location"])
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': blob.digest})}"
        try:
            answer = self._transport.request(
                "PUT",
                url,
                scope=_push(name),
                ok=(201, 204) if last else (201, 204, 404, 416),
                headers={"Content-Type": "application/octet-stream"},
                body=Body(size_bytes=blob.size_bytes, open=blob.open, progress=progress),
                retry=False,
            )
        except RegistryUnreachable:
            if last:
                raise
            return False
        if answer.status_code in (404, 416):
            return False
        _compare(answer, blob.digest, f"blob of {name}")
        return True

    def fetch_blob(
        self, name: str, descriptor: Descriptor, destination: Path, progress: Progress | None = None
    ) -> None:
        """Write a blob to a file, whole and verified, or not at all.

        Raises:
            DigestMismatch: the bytes are not the descriptor's.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_name(f".{destination.name}.{os.getpid()}")
        digest, size = hashlib.sha256(), 0
        try:
            with self._opened(name, descriptor.digest) as answer, partial.open("wb") as out:
                for chunk in _chunks(answer):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                    if progress is not None:
                        progress(len(chunk))
            _verify(digest.hexdigest(), size, descriptor.digest, descriptor.size_bytes, name)
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)

    def read_blob(self, name: str, digest: Digest, limit_bytes: int) -> bytes:
        """A small blob, verified.

        Raises:
            DigestMismatch: the bytes are not the digest's.
            RegistryError: it is larger than `limit_bytes`.
        """
        with self._opened(name, digest) as answer:
            data = _limited(answer, limit_bytes, f"blob {digest}")
        _verify(hashlib.sha256(data).hexdigest(), len(data), digest, len(data), name)
        return data

    def _opened(self, name: str, digest: Digest) -> requests.Response:
        return self._transport.request(
            "GET",
            f"/v2/{name}/blobs/{digest}",
            scope=_pull(name),
            ok=(200,),
            stream=True,
            # Without this, requests asks for gzip, and unpacks what a proxy then compresses.
            headers={"Accept-Encoding": "identity"},
        )

    # --- manifests ---------------------------------------------------------------------------------------

    def fetch_manifest(self, name: str, reference: str) -> Manifest:
        """The manifest or index under a tag or digest; by digest, it is verified.

        Raises:
            ManifestNotFound: there is none.
            DigestMismatch: the bytes are not the digest's.
        """
        with self._transport.request(
            "GET",
            f"/v2/{name}/manifests/{reference}",
            scope=_pull(name),
            ok=(200,),
            stream=True,
            headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"},
        ) as answer:
            body = _limited(answer, _MANIFEST_LIMIT, f"manifest {reference}")
        digest = Digest.of(body)
        if ":" in reference and digest != reference:
            raise DigestMismatch(f"{self.host}/{name}@{reference} came with the digest {digest}")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return Manifest(media_type=media_type, body=body, digest=digest)

    def resolve(self, name: str, tag: str) -> Digest | None:
        """The digest that a tag points to, None where there is no such tag."""
        answer = self._transport.request(
            "HEAD",
            f"/v2/{name}/manifests/{check_tag(tag)}",
            scope=_pull(name),
            ok=(200, 404),
            headers={"Accept": _ACCEPT},
        )
        if answer.status_code == 404:
            return None
        told = answer.headers.get("Docker-Content-Digest", "")
        # The header is optional; the bytes always tell.
        return Digest(told) if told.startswith("sha256:") else self.fetch_manifest(name, tag).digest

    def push_manifest(self, name: str, reference: str, body: bytes, media_type: str) -> Digest:
        """Put these exact bytes under a tag or digest.

        Raises:
            DigestMismatch: the registry stored other bytes.
        """
        answer = self._transport.request(
            "PUT",
            f"/v2/{name}/manifests/{reference if ':' in reference else check_tag(reference)}",
            scope=_push(name),
            ok=(201,),
            headers={"Content-Type": media_type},
            body=body,
        )
        digest = Digest.of(body)
        _compare(answer, digest, f"manifest of {name}")
        return digest

    def list_tags(self, name: str) -> tuple[str, ...]:
        """All tags of a repository, sorted; () where there is no such repository."""
        tags: list[str] = []
        url = f"/v2/{name}/tags/list?n=1000"
        while url:
            answer = self._transport.request("GET", url, scope=_pull(name), ok=(200, 404))
            if answer.status_code == 404:
                break
            tags.extend(answer.json().get("tags") or [])
            url = urljoin(answer.url, answer.links["next"]["url"]) if "next" in answer.links else ""
        return tuple(sorted(tags))


def _pull(name: str) -> str:
    return f"repository:{name}:pull"


def _push(name: str) -> str:
    return f"repository:{name}:pull,push"


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise RegistryUnreachable(
            "the registry broke off in the middle of a blob", hint="run again"
        ) from error


def _limited(answer: requests.Response, limit_bytes: int, what: str) -> bytes:
    data = bytearray()
    for chunk in _chunks(answer):
        data.extend(chunk)
        if len(data) > limit_bytes:
            raise RegistryError(f"{what} is larger than {limit_bytes} bytes")
    return bytes(data)


def _verify(found: str, size: int, digest: Digest, wanted_size: int, name: str) -> None:
    if found != digest.hex or size != wanted_size:
        raise DigestMismatch(
            f"{name}@{digest} came as sha256:{found}, {size} of {wanted_size} bytes",
            hint="the registry's storage is damaged, or something between changes what it sends",
        )


def _compare(answer: requests.Response, digest: Digest, what: str) -> None:
    told = answer.headers.get("Docker-Content-Digest", "")
    if told and told != digest:
        raise DigestMismatch(f"the registry stored the {what} as {told}, not {digest}")
