"""A registry: blobs, manifests and tags, over the distribution protocol.

Source: OCI distribution-spec v1.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests

from runbake.errors import DigestMismatch, RegistryError
from runbake.image.blob import CHUNK_BYTES, Blob, Descriptor, Digest
from runbake.image.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from runbake.registry.credentials import CredentialSource
from runbake.registry.failure import Temporary, redacted_url, unreachable
from runbake.registry.reference import DOCKER_HUB, check_reference, check_tag, is_loopback
from runbake.registry.transport import ATTEMPTS, Meter, Transport
from runbake.registry.upload import Pushed, Upload, compare_digest, pull_scope, push_scope

Progress = Callable[[int], None]

_KNOWN_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
_ACCEPT = ", ".join(_KNOWN_TYPES)
_MANIFEST_LIMIT = 8 << 20
"""Registries must take manifests of 4 MiB; what is larger than twice that is not read into memory."""
_NO_REFERRERS_API = (400, 404, 405, 406)
"""What registries without the API answer, as go-containerregistry reads it."""

_IDENTITY = {"Accept-Encoding": "identity"}
"""Without this, requests asks for gzip, and unpacks what a proxy then compresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index as the registry keeps it: exact bytes, whose digest is `digest`."""

    media_type: str
    body: bytes
    digest: Digest


class Registry:
    """One registry host; safe to use from several threads.

    Plain http is used for loopback hosts, and for others only when `insecure` says so. Certificates are
    checked against REQUESTS_CA_BUNDLE where that is set. A request that fails is sent again, `attempts` times
    at most: a build is patient, a question that a person waits for is not.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: CredentialSource,
        insecure: bool | None = None,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        plain = is_loopback(host) if insecure is None else insecure
        address = "registry-1.docker.io" if host == DOCKER_HUB else host
        self.host = host
        self._transport = Transport(
            f"{'http' if plain else 'https'}://{address}",
            host,
            lambda: credentials.credentials_for(host),
            attempts=attempts,
            sleep=sleep,
            clock=clock,
        )

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._transport.close()

    # --- blobs -------------------------------------------------------------------------------------------

    def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether the repository holds a blob."""
        answer = self._transport.request(
            "HEAD", f"/v2/{name}/blobs/{digest}", scope=pull_scope(name), ok=(200, 404)
        )
        return answer.status_code == 200

    def push_blob(
        self, name: str, blob: Blob, *, mount_from: str = "", progress: Progress | None = None
    ) -> Pushed:
        """Make the repository hold a blob: find it there, mount it from another repository, or send it.

        `progress` hears of each byte once, also when it is sent again.

        Raises:
            DigestMismatch: the registry got other bytes than the digest says.
            RegistryError: the registry refuses.
        """
        upload = Upload(self._transport, name, blob, mount_from=mount_from, progress=progress)
        return self._transport.repeatedly(upload.attempt, size_bytes=blob.size_bytes)

    def fetch_blob(
        self, name: str, descriptor: Descriptor, destination: Path, progress: Progress | None = None
    ) -> None:
        """Write a blob to a file, whole and verified, or not at all.

        Raises:
            DigestMismatch: the bytes are not the descriptor's.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        own = f"{os.getpid()}.{threading.get_ident()}"
        partial, meter = destination.with_name(f".{destination.name}.{own}"), Meter(progress)

        def attempt() -> None:
            meter.begin()
            with self._opened(name, descriptor.digest) as answer, partial.open("wb") as out:
                _copy_verified(answer, out, name, descriptor, meter)

        try:
            self._transport.repeatedly(attempt, size_bytes=descriptor.size_bytes)
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)

    def read_blob(self, name: str, digest: Digest, limit_bytes: int) -> bytes:
        """A small blob, verified.

        Raises:
            DigestMismatch: the bytes are not the digest's.
            RegistryError: it is larger than `limit_bytes`.
        """

        def attempt() -> bytes:
            with self._opened(name, digest) as answer:
                return _limited(answer, limit_bytes, f"blob {digest}")

        data = self._transport.repeatedly(attempt)
        _verify(hashlib.sha256(data).hexdigest(), len(data), digest, len(data), name)
        return data

    def _opened(self, name: str, digest: Digest) -> requests.Response:
        return self._transport.attempt(
            "GET",
            f"/v2/{name}/blobs/{digest}",
            scope=pull_scope(name),
            ok=(200,),
            stream=True,
            headers=_IDENTITY,
        )

    # --- manifests ---------------------------------------------------------------------------------------

    def fetch_manifest(self, name: str, reference: str) -> Manifest:
        """The manifest or index under a tag or digest; by digest, it is verified.

        Raises:
            ManifestNotFound: there is none.
            DigestMismatch: the bytes are not the digest's, or not those that the registry says they are.
        """
        url = f"/v2/{name}/manifests/{check_reference(reference)}"
        answer, body = self._document(name, url, {"Accept": _ACCEPT})
        digest = Digest.of(body)
        if ":" in reference and digest != reference:
            raise DigestMismatch(f"{self.host}/{name}@{reference} came with the digest {digest}")
        compare_digest(answer, digest, f"manifest {self.host}/{name}:{reference}")
        return Manifest(media_type=_media_type(answer, body), body=body, digest=digest)

    def fetch_referrers(self, name: str, digest: Digest) -> tuple[bytes, ...] | None:
        """The pages of the referrers API's answer for a digest, None where the registry has no such API.

        The API is asked: registries exist that promise it in a header and do not have it.

        Source: OCI distribution-spec v1.1, "Listing Referrers".
        """
        ok = (200, *_NO_REFERRERS_API)
        pages: list[bytes] = []
        for answer, body in self._pages(name, f"/v2/{name}/referrers/{digest}", {"Accept": OCI_INDEX}, ok):
            if answer.status_code != 200 or _content_type(answer) != OCI_INDEX:
                return None
            pages.append(body)
        return tuple(pages)

    def resolve(self, name: str, tag: str) -> Digest | None:
        """The digest that a tag points to, None where there is no such tag."""
        answer = self._transport.request(
            "HEAD",
            f"/v2/{name}/manifests/{check_tag(tag)}",
            scope=pull_scope(name),
            ok=(200, 404),
            headers={"Accept": _ACCEPT},
        )
        if answer.status_code == 404:
            return None
        try:
            return Digest(answer.headers.get("Docker-Content-Digest", ""))
        except ValueError:
            # The header is optional; the bytes always tell.
            return self.fetch_manifest(name, tag).digest

    def push_manifest(self, name: str, reference: str, body: bytes, media_type: str) -> Digest:
        """Put these exact bytes under a tag or digest.

        Raises:
            DigestMismatch: the registry stored other bytes.
        """
        answer = self._transport.request(
            "PUT",
            f"/v2/{name}/manifests/{check_reference(reference)}",
            scope=push_scope(name),
            ok=(200, 201, 202),
            headers={"Content-Type": media_type},
            body=body,
        )
        digest = Digest.of(body)
        compare_digest(answer, digest, f"manifest of {self.host}/{name}")
        return digest

    def list_tags(self, name: str) -> tuple[str, ...]:
        """All tags of a repository, sorted; () where there is no such repository."""
        tags: set[str] = set()
        for answer, body in self._pages(name, f"/v2/{name}/tags/list?n=1000", {}, (200, 404)):
            if answer.status_code == 200:
                tags.update(_tags(body, name))
        return tuple(sorted(tags))

    def _pages(
        self, name: str, url: str, headers: dict[str, str], ok: tuple[int, ...]
    ) -> Iterator[tuple[requests.Response, bytes]]:
        asked: set[str] = set()
        # A page that names one that was read would go round for ever.
        while url and url not in asked:
            asked.add(url)
            answer, body = self._document(name, url, headers, ok)
            yield answer, body
            following = answer.links.get("next", {}).get("url", "")
            url = self._transport.absolute(following, answer.url) if following else ""

    def _document(
        self, name: str, url: str, headers: dict[str, str], ok: tuple[int, ...] = (200,)
    ) -> tuple[requests.Response, bytes]:
        """An answer and its body of limited size."""

        def attempt() -> tuple[requests.Response, bytes]:
            with self._transport.attempt(
                "GET", url, scope=pull_scope(name), ok=ok, stream=True, headers=_IDENTITY | headers
            ) as answer:
                return answer, _limited(answer, _MANIFEST_LIMIT, f"the answer about {name}")

        return self._transport.repeatedly(attempt)


def _copy_verified(
    answer: requests.Response, out: BinaryIO, name: str, descriptor: Descriptor, meter: Meter
) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(answer):
        digest.update(chunk)
        size += len(chunk)
        if size > descriptor.size_bytes:
            # The rest may never end.
            break
        out.write(chunk)
        meter.add(len(chunk))
    _verify(digest.hexdigest(), size, descriptor.digest, descriptor.size_bytes, name)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise Temporary(unreachable("GET", answer.url, error, sending=False)) from error


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


def _content_type(answer: requests.Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _media_type(answer: requests.Response, body: bytes) -> str:
    """The type that the header gives, else the document; a document with two types is refused.

    Source: OCI image-spec v1.1, manifest.md, "mediaType"; CVE-2021-41190.
    """
    told = _content_type(answer)
    where = redacted_url(answer.url)
    inside = _json_object(body, where).get("mediaType")
    if told not in _KNOWN_TYPES:
        return inside if isinstance(inside, str) and inside else told
    if inside is not None and inside != told:
        raise RegistryError(f"a manifest of the type {inside!r:.80} came as {told!r:.80}: {where}")
    return told


def _tags(body: bytes, name: str) -> list[str]:
    tags = _json_object(body, name).get("tags") or []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _json_object(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise RegistryError(
            f"the registry's answer about {what} is not JSON", hint="is this address a registry's?"
        ) from error
    if not isinstance(document, dict):
        raise RegistryError(f"the registry's answer about {what} is not a JSON object")
    return document
