"""Our own digest of a dataset that a run logged, where it may be read: MLflow's own is 32 bits of an MD5."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runbake.aws import chunks_of_object
from runbake.cli.story import TerminalStory
from runbake.datasets import Unreadable, followed
from runbake.errors import AwsError

_CHUNK_BYTES = 1 << 20


def data_digest_of(
    allowed: tuple[str, ...], region: str, story: TerminalStory
) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    """What answers the digest of a dataset of the label file as it is now; a warning where there is none.

    Of a file, or an object on S3, `sha256`; of a directory `dirHash`.

    Args:
        allowed: directories, and `s3://BUCKET[/PREFIX]`; none for reading nothing.

    Source: in-toto digest_set.md.
    """

    def digest(dataset: Mapping[str, Any]) -> tuple[str, str]:
        if not allowed:
            return "", ""
        try:
            uri = followed(dataset, allowed, os.path.realpath)
            with story.step("data") as step:
                name, value = _digest(uri, region)
                step.say(f"{uri} {name}:{value[:12]}…")
                return name, value
        except (Unreadable, OSError, AwsError) as error:
            story.warn(f"the dataset {str(dataset.get('name', ''))[:100]!r} is not hashed: {error}")
            return "", ""

    return digest


def _digest(uri: str, region: str) -> tuple[str, str]:
    if uri.startswith("s3://"):
        return "sha256", _sha256(chunks_of_object(uri, region))
    path = Path(uri)
    return ("dirHash", _dir_hash(path)) if path.is_dir() else ("sha256", _sha256(_chunks(path)))


def _dir_hash(root: Path) -> str:
    """Hash1 of Go's golang.org/x/mod/sumdb/dirhash, in hex: of a list of the files, by name.

    Links are not followed: they may lead out of what was allowed.
    """
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(root).as_posix(): path for path in files}
    lines = (f"{_sha256(_chunks(names[name]))}  {name}\n" for name in sorted(names))
    return _sha256(line.encode() for line in lines)


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
