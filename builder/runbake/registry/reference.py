"""The address of an image: host, name, tag, digest."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from runbake.errors import InvalidReference
from runbake.image.blob import Digest

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])"
    r"(?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_RUN = re.compile(r"[0-9a-f]{32}|(?:runs|models):/.*")
"""What people write where an image is wanted; Docker Hub would be asked for it, again and again."""
_NAME_LIMIT = 255
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """Where an image is; `str(ImageRef.parse(s)) == s` for every canonical `s`.

    Canonical means with a host, and Docker Hub called `docker.io`. `tag` is "" and `digest` None where
    absent.

    Source: OCI distribution-spec v1.1, "Pulling manifests"; the Docker reference grammar for hosts.
    """

    host: str
    name: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Read `[HOST/]NAME[:TAG][@DIGEST]`; without a host, Docker Hub as Docker reads it.

        Raises:
            InvalidReference: lists everything that is wrong.
        """
        if _RUN.fullmatch(text):
            raise InvalidReference(
                f"an image is wanted, and {text[:200]!r} is a run's reference",
                hint="`runbake trace` with it names the image that was made of the run",
            )
        rest, has_digest, digest_text = text.partition("@")
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost"):
            host, path = DOCKER_HUB if head in _HUB_ALIASES else head, tail
        else:
            host, path = DOCKER_HUB, rest
        name, has_tag, tag = path.partition(":")
        if host == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        problems = _problems(host, name)
        if has_tag and not _TAG.fullmatch(tag):
            problems.append(f"the tag {tag[:40]!r} is not one")
        digest = None
        if has_digest:
            try:
                digest = Digest(digest_text)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise InvalidReference(
                f"not an image reference: {text[:200]!r}: {'; '.join(problems)}",
                hint="write HOST/NAME, HOST/NAME:TAG or HOST/NAME@sha256:…, the name in lower case, no https://",
            )
        return cls(host=host, name=name, tag=tag, digest=digest)

    @property
    def repository(self) -> str:
        """`HOST/NAME`."""
        return f"{self.host}/{self.name}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _problems(host: str, name: str) -> list[str]:
    problems = []
    if not _HOST.fullmatch(host):
        problems.append(f"the host {host[:80]!r} is not one")
    elif (port := _port_of(host)) and not 0 < int(port) <= _HIGHEST_PORT:
        problems.append(f"the port {port} is not one")
    if not _NAME.fullmatch(name):
        problems.append(f"the name {name[:80]!r} is not one")
    if len(name) > _NAME_LIMIT:
        problems.append(f"the name has {len(name)} characters, {_NAME_LIMIT} are allowed")
    return problems


def _port_of(host: str) -> str:
    port = host.rpartition(":")[2]
    return port if port.isdecimal() and ":" in host else ""


def is_loopback(host: str) -> bool:
    """Whether a registry host (with or without port) is this machine, where plain http is usual."""
    name = host.rpartition(":")[0] if _port_of(host) else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def check_reference(text: str) -> str:
    """The tag or digest, if it is one: anything else would become part of a path.

    Raises:
        InvalidReference: it is neither.
    """
    if ":" not in text:
        return check_tag(text)
    try:
        return Digest(text)
    except ValueError as error:
        raise InvalidReference(str(error), hint="runbake reads images by sha256") from error


def check_tag(tag: str) -> str:
    """The tag, if it is one.

    Raises:
        InvalidReference: it is not.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidReference(
            f"not a tag: {tag[:140]!r}",
            hint="up to 128 letters, digits, '_', '.' and '-'; neither '.' nor '-' comes first",
        )
    return tag
