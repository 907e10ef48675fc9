"""Where a model's files are, and how they are listed, read and written.

Three stores behind one small interface: the tracking server's own artifact proxy, spoken to directly (one
pass downloads and hashes, with MLflow's authentication: 2.3 s for 500 MB, where MLflow's download and a
separate hash take 4.7 s); a directory on this machine; and whatever else MLflow has a repository for (S3, …).
"""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import quote, unquote, urlsplit

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from runbake.errors import ArtifactMissing, TrackingError, UnsafePath
from runbake.redaction import redacted
from runbake.tracking._door import Door
from runbake.tracking.run import ModelFile

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

OnBytes = Callable[[int], None]
"""Called with the number of bytes that just arrived; a negative number takes back a failed attempt."""

REGISTERED_MODEL_META = "registered_model_meta"
"""MLflow's own download writes this file into the store; it is no part of the model."""

_OF_THIS_MACHINE = ("", "file", "runs", "models")
"""Schemes of paths on this machine, and of references, through which MLflow would come to one."""

_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_CHUNK_BYTES = 1 << 20
_DEEPEST = 32
_MOST_FILES = 100_000
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One name in a directory: its last part only, as the store gave it."""

    name: str
    is_directory: bool
    size_bytes: int


class ArtifactStore(Protocol):
    """A directory tree of artifacts; paths are POSIX and relative to its root, "" is the root itself."""

    def list_directory(self, path: str) -> tuple[Listed, ...]:
        """The names directly in this directory; nothing where it does not exist."""

    def fetch(self, path: str, to: Path, on_bytes: OnBytes) -> str:
        """Write the file to a path that does not exist yet; its sha256 as 64 hex digits."""

    def write(self, path: str, data: bytes) -> None:
        """Store a small file, replacing what was there."""


def store_at(door: Door, uri: str) -> ArtifactStore:
    """The store that this artifact URI names.

    Raises:
        TrackingError: it is on another host than the tracking server, and MLflow's credentials would be sent
            there; or a server names a directory of this machine, which it may not.
    """
    parts = urlsplit(uri)
    if parts.scheme in _OF_THIS_MACHINE and not door.may_name_paths:
        raise TrackingError(
            f"{door.address} says that the artifacts are at {redacted(uri)[:300]!r}, which names no server",
            hint="let the server proxy its artifacts (mlflow server --serve-artifacts), or pass "
            "--local-artifacts where it shares this machine's directories",
        )
    if parts.scheme in ("mlflow-artifacts", "http", "https"):
        return ProxiedStore(door, _proxied_path(door, uri))
    if parts.scheme in ("", "file"):
        return LocalStore(Path(unquote(parts.path)))
    return MlflowStore(door, uri)


def files_in(store: ArtifactStore, *, root: str = "") -> tuple[ModelFile, ...]:
    """Every file under `root`, sorted by path relative to it, without `registered_model_meta` at its top.

    Raises:
        UnsafePath: a name would leave the directory, or directories nest deeper than 32 levels.
        TrackingError: there are more than 100,000 files.
    """
    found: list[ModelFile] = []
    for file in _walk(store, root, ""):
        if file.path != REGISTERED_MODEL_META:
            found.append(file)
        if len(found) > _MOST_FILES:
            raise TrackingError(f"more than {_MOST_FILES} files in the model; no model looks like this")
    return tuple(sorted(found, key=lambda file: file.path))


def _walk(store: ArtifactStore, root: str, directory: str) -> Iterator[ModelFile]:
    if directory.count("/") >= _DEEPEST:
        raise UnsafePath(f"artifact directories nest deeper than {_DEEPEST} levels: {directory[:200]!r}")
    for entry in store.list_directory(posixpath.join(root, directory)):
        path = posixpath.join(directory, _safe_name(entry.name, directory))
        if entry.is_directory:
            yield from _walk(store, root, path)
        else:
            yield ModelFile(path=path, size_bytes=entry.size_bytes)


def _safe_name(name: str, directory: str) -> str:
    wrong = [
        reason
        for reason, found in (
            ("is empty", not name),
            ("is '.' or '..'", name in (".", "..")),
            ("holds a slash", "/" in name),
            ("holds a backslash", "\\" in name),
            ("holds a NUL", "\0" in name),
            ("is no text (a lone surrogate)", any("\ud800" <= each <= "\udfff" for each in name)),
            ("is longer than 255 bytes", len(name.encode("utf-8", "surrogatepass")) > 255),
        )
        if found
    ]
    if wrong:
        raise UnsafePath(
            f"the artifact name {name[:200]!r} in {directory or 'the model'!r} {', '.join(wrong)}",
            hint="log the model again without that file; nothing is written outside the model's directory",
        )
    return name


def _proxied_path(door: Door, uri: str) -> str:
    """The path below the proxy's root, after checking that the host may be trusted with credentials."""
    parts, server = urlsplit(uri), urlsplit(door.uri)
    host = parts.netloc.rpartition("@")[2]
    if not door.is_http or (host and host != server.netloc.rpartition("@")[2]):
        raise TrackingError(
            f"the artifacts are at {redacted(uri)!r}, not at the tracking server {door.address}",
            hint="MLflow's credentials are sent to the tracking server only",
        )
    path = parts.path
    if parts.scheme != "mlflow-artifacts":
        path = path.partition("/mlflow-artifacts/artifacts")[2]
    if ".." in path.split("/"):
        raise UnsafePath(f"the artifact location {redacted(uri)!r} leaves the artifact root")
    return path.strip("/")


class ProxiedStore:
    """Artifacts behind the tracking server (`mlflow-artifacts:`), over its HTTP interface."""

    def __init__(self, door: Door, root: str) -> None:
        self._door = door
        self._root = root

    def list_directory(self, path: str) -> tuple[Listed, ...]:
        """See `ArtifactStore`. The server answers an empty list for a directory it does not have."""
        where = posixpath.join(self._root, path).rstrip("/")
        answer = self._door.request("GET", _PROXY, params={"path": where}).json()
        entries = answer.get("files", []) if isinstance(answer, dict) else []
        try:
            return tuple(
                Listed(
                    name=str(entry["path"]),
                    is_directory=bool(entry.get("is_dir")),
                    size_bytes=int(entry.get("file_size") or 0),
                )
                for entry in entries
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrackingError(
                f"{self._door.address} lists {where[:200]!r} in a way that MLflow does not: {error!r}"[:500],
                hint="is that address an MLflow server, of version 2 or 3?",
            ) from error

    # A connection that breaks in the middle of a file is not retried by MLflow's own session.
    @retry(
        retry=retry_if_exception_type((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=0.2, max=2),
        reraise=True,
    )
    def fetch(self, path: str, to: Path, on_bytes: OnBytes) -> str:
        """See `ArtifactStore`. Hashes while it downloads, one mebibyte at a time."""
        response = self._door.request(
            "GET",
            self._endpoint(path),
            stream=True,
            extra_headers={"Accept-Encoding": "identity"},
        )
        with response, _new_file(to) as file:
            digest, arrived = hashlib.sha256(), 0
            try:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    arrived += len(chunk)
                    on_bytes(len(chunk))
            except requests.RequestException:
                to.unlink()
                on_bytes(-arrived)
                raise
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """See `ArtifactStore`."""
        self._door.request("PUT", self._endpoint(path), data=data)

    def _endpoint(self, path: str) -> str:
        return f"{_PROXY}/{quote(posixpath.join(self._root, path))}"


class LocalStore:
    """Artifacts in a directory of this machine, as an MLflow server without a proxy keeps them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list_directory(self, path: str) -> tuple[Listed, ...]:
        """See `ArtifactStore`. A symbolic link must stay inside the root."""
        try:
            entries = tuple(os.scandir(self._root / path))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return tuple(self._listed(entry) for entry in entries)

    def _listed(self, entry: os.DirEntry[str]) -> Listed:
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(self._root.resolve()):
            raise UnsafePath(
                f"the artifact {entry.name!r} is a symbolic link out of the model's directory",
                hint="log the model again with a copy of the file",
            )
        is_directory = entry.is_dir()
        return Listed(
            name=entry.name,
            is_directory=is_directory,
            size_bytes=0 if is_directory or not entry.is_file() else entry.stat().st_size,
        )

    def fetch(self, path: str, to: Path, on_bytes: OnBytes) -> str:
        """See `ArtifactStore`."""
        try:
            source = (self._root / path).open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise ArtifactMissing(f"the artifact {path!r} is listed but not there") from error
        digest = hashlib.sha256()
        with source, _new_file(to) as file:
            while chunk := source.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                on_bytes(len(chunk))
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """See `ArtifactStore`."""
        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except PermissionError as error:
            raise TrackingError(f"cannot write {path!r} into the run's artifact directory") from error


class MlflowStore:
    """Artifacts wherever MLflow has a repository for: S3, Google Cloud Storage, Azure, …

    MLflow downloads, then the file is read once more for its hash.
    """

    def __init__(self, door: Door, uri: str) -> None:
        self._door = door
        self._uri = uri

    def _repository(self) -> ArtifactRepository:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self._uri, tracking_uri=self._door.uri)

    def list_directory(self, path: str) -> tuple[Listed, ...]:
        """See `ArtifactStore`."""
        prefix = f"{path}/" if path else ""
        return tuple(
            Listed(
                name=info.path.removeprefix(prefix),
                is_directory=bool(info.is_dir),
                size_bytes=int(info.file_size or 0),
            )
            for info in self._repository().list_artifacts(path or None)
            if info.path not in (".", path)
        )

    def fetch(self, path: str, to: Path, on_bytes: OnBytes) -> str:
        """See `ArtifactStore`."""
        with tempfile.TemporaryDirectory(dir=to.parent) as scratch:
            downloaded = Path(self._repository().download_artifacts(path, dst_path=scratch))
            if downloaded.is_symlink() or not downloaded.is_file():
                raise ArtifactMissing(f"the artifact {path!r} is listed but is no file")
            with downloaded.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            downloaded.rename(to)
        on_bytes(to.stat().st_size)
        return digest

    def write(self, path: str, data: bytes) -> None:
        """See `ArtifactStore`."""
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / posixpath.basename(path)
            local.write_bytes(data)
            self._repository().log_artifact(str(local), posixpath.dirname(path) or None)


def _new_file(path: Path) -> BinaryIO:
    """Open a file that must not exist yet; on a case-insensitive disk two names can be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise UnsafePath(f"two artifacts want the path {path.name!r}") from error
