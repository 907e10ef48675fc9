"""The way back: complete from what a stop carries, and believing nothing that contradicts itself."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.image.manifest import OCI_MANIFEST
from runbake.provenance import BaseFacts, provenance_of
from runbake.published import read_published
from runbake.registry import ImageRef, Manifest
from runbake.trace import chain_of_label_file
from runbake_serving import contract
from tests.unit.samples import RUN_ID, a_lock, a_model, a_run

BASE = BaseFacts(digest="sha256:" + "2" * 64, python="3.11.2")
BODY = provenance_of(a_run(), a_model(), a_lock(), BASE, flavor="sklearn", codec_id="gzip:x").body
SCHEMA = {"schema": contract.PROVENANCE_SCHEMA}


def test_a_label_file_tells_the_whole_way() -> None:
    """The stops that carried it come first, then run, model, data, commit, lock, base and tool."""
    chain = chain_of_label_file(BODY, ("container", "abc"))

    assert chain.run_id == RUN_ID
    assert [link.stop for link in chain.links] == [
        *(
            "container",
            "label file",
            "model",
            "run",
            "params",
            "metrics",
            "data",
            "commit",
            "lock",
            "base",
            "tool",
        )
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        json.dumps(SCHEMA).encode(),
        json.dumps({**json.loads(BODY), "run": "x"}).encode(),
        json.dumps({**json.loads(BODY), "data": [1]}).encode(),
    ],
)
def test_what_any_server_may_answer_is_no_traceback(body: bytes) -> None:
    """Anything but a whole label file is refused with the name of what carried it."""
    with pytest.raises(TraceError, match="the-server"):
        chain_of_label_file(body, ("server", "the-server"))


class OneImage:
    """A registry with one image, whose last layer is `layer`."""

    def __init__(self, layer: bytes, *, label: str = str(Digest.of(BODY))) -> None:
        config = {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": {contract.LABEL_PROVENANCE_DIGEST: label}},
        }
        self._blobs = {Digest.of(data): data for data in (layer, json.dumps(config).encode())}
        described = [{"digest": digest, "size": len(data)} for digest, data in self._blobs.items()]
        document = {"layers": described[:1], "config": described[1]}
        body = json.dumps(document).encode()
        self._manifest = Manifest(media_type=OCI_MANIFEST, body=body, digest=Digest.of(body))

    def fetch_manifest(self, name: str, reference: str) -> Manifest:
        """The image's."""
        return self._manifest

    def read_blob(self, name: str, digest: Digest, limit_bytes: int) -> bytes:
        """The blob of this digest."""
        return self._blobs[digest]


def packed(data: bytes, path: str = contract.PROVENANCE_FILE) -> bytes:
    """A tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_image_is_read_back(pack: type[bytes]) -> None:
    """Also after a mirror compressed its layers."""
    found = read_published(ImageRef.parse("h.x/n"), OneImage(pack(packed(BODY))))  # type: ignore[arg-type]

    assert (found.body, found.platform) == (BODY, "linux/amd64")


@pytest.mark.parametrize(
    "layer",
    [
        b"",
        b"no tar",
        packed(BODY)[:700],
        gzip.compress(packed(BODY), mtime=0)[:500],
        gzip.compress(packed(BODY), mtime=0)[:40] + b"\xff" * 40,
        packed(BODY, "etc/passwd"),
        packed(b"{}"),
        packed(bytes(17 << 20)),
    ],
    ids=["empty", "no-tar", "cut", "cut-gzip", "broken-gzip", "other-file", "other-json", "huge"],
)
def test_an_image_that_strangers_made_is_refused(layer: bytes) -> None:
    """Whoever can push writes these bytes: each ends in an error that names the image."""
    with pytest.raises(TraceError, match=r"h\.x"):
        read_published(ImageRef.parse("h.x/n"), OneImage(layer))  # type: ignore[arg-type]
