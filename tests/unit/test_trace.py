"""The way back: complete from what a stop carries, and believing nothing that contradicts itself."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import fields, replace

import pytest

from runbake.errors import TraceError
from runbake.image import Digest
from runbake.image.manifest import OCI_MANIFEST
from runbake.provenance import BaseFacts, provenance_of
from runbake.published import read_published
from runbake.registry import ImageRef, Manifest
from runbake.trace import chain_of_label_file, chain_of_run
from runbake.tracking import RegisteredVersion, RunFacts, RunRecord, RunRef
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


@pytest.mark.parametrize(
    ("kind", "source", "profile", "told"),
    [
        ("local", '{"uri": "wine.csv"}', '{"num_rows": 45}', "45 rows, from wine.csv (local)"),
        ("code", '{"tags": {"mlflow.source.name": "train.py"}}', "", "from train.py (code)"),
        (
            "http",
            '{"url": "https://me:hunter2@h.x/d"}',
            "",
            "from https://[redacted by runbake]@h.x/d (http)",
        ),
        ("spark", '{"path": null, "table_name": "wines", "sql": null}', "", "from wines (spark)"),
        ("code", '{"tags": []}', "[]", "digest 12345678, from code"),
        ("huge", '{"uri": "' + "x" * 5000, "{", "digest 12345678, from huge"),
        ("huge", json.dumps({"uri": "x" * 500}), "{", f"from {'x' * 119}… (huge)"),
    ],
)
def test_data_is_told_for_a_person(kind: str, source: str, profile: str, told: str) -> None:
    """MLflow's JSON becomes a name and a place; what is no JSON, or none that we know, its kind."""
    data = replace(a_run().datasets[0], source_type=kind, source=source, profile=profile)
    run = a_run(datasets=(data,))
    body = provenance_of(run, a_model(), a_lock(), BASE, flavor="sklearn", codec_id="gzip:x").body
    (line,) = (
        link.text for link in chain_of_label_file(body, ("container", "abc")).links if link.stop == "data"
    )

    assert line.startswith("wine (training), digest 12345678")
    assert line.endswith(told)


class OneRun:
    """A tracking server that knows one run."""

    def __init__(self, **changes: object) -> None:
        self._record = RunRecord(
            **{**{field.name: getattr(a_run(), field.name) for field in fields(RunFacts)}, **FRESH, **changes}  # type: ignore[arg-type]
        )

    def record_of(self, _ref: RunRef) -> RunRecord:
        """The run's."""
        return self._record


FRESH = {
    "status": "FINISHED",
    "promotion": "",
    "promoted_at_ms": None,
    "models": (),
    "versions": (),
    "stops": (),
}


def told_of(tracking: OneRun, ref: str = RUN_ID) -> list[tuple[str, str]]:
    """Stops and texts of the chain forward."""
    chain = chain_of_run(tracking, RunRef.parse(ref))  # type: ignore[arg-type]
    return [(link.stop, link.text) for link in chain.links]


def test_a_run_tells_what_it_is_and_what_came_of_it() -> None:
    """Run, promotion, training, models and versions, each image once, endpoints; how RUN was asked for."""
    image = "h.x/wine@sha256:" + "1" * 64
    stops = (
        ("runbake.endpoint.wine", "http://127.0.0.1:9000 since 2026-11-23T00:00:00Z"),
        ("runbake.image", image),
        ("runbake.image.0123456789ab", image),
        ("runbake.promoted_at", "2026-11-23T00:00:00.000Z"),
    )
    tracking = OneRun(
        promotion="promote=true",
        promoted_at_ms=1_767_000_070_000,
        models=(("model", "m-1"),),
        versions=(RegisteredVersion(name="fraud", version="7", aliases=("champion",)),),
        stops=stops,
    )

    assert told_of(tracking, "models:/fraud@champion") == [
        ("asked", "models:/fraud@champion"),
        ("run", f"{RUN_ID} wise-wine, experiment wine, finished 2025-12-29T09:21:00Z"),
        ("promoted", "promote=true at 2025-12-29T09:21:10Z"),
        ("params", "C=0.5"),
        ("metrics", "accuracy=0.98"),
        ("data", "wine (training), digest 12345678, from wine.csv (local)"),
        ("commit", "a" * 40),
        ("model", "model m-1"),
        ("registered", "models:/fraud/7 @champion"),
        ("image", image),
        ("endpoint", "wine http://127.0.0.1:9000 since 2026-11-23T00:00:00Z"),
    ]


def test_a_run_that_nothing_came_of_says_so() -> None:
    """A running, unpromoted run has a chain too, and what strangers wrote into its tags stays short."""
    told = dict(told_of(OneRun(status="RUNNING", end_time_ms=0, stops=(("runbake.x", "y" * 5000),))))

    assert told["run"].endswith("experiment wine, running")
    assert told["promoted"] == "by nobody"
    assert told["image"] == "none that runbake wrote on the run"
    assert len(told["x"]) == 500


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
