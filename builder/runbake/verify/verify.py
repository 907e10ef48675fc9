"""The story of a verification: manifests, layers, files, labels, statements, policy."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runbake.crew import Crew
from runbake.errors import DigestMismatch, VerificationFailed
from runbake.image import Descriptor, Digest, compression_of
from runbake.provenance import labels_of, parse_label_file
from runbake.registry import ImageRef, Manifest, Registry
from runbake.scratch import scratch_directory
from runbake.verify.evaluated import evaluation_checks
from runbake.verify.files import Change, ScannedLayer, scanned, seen_files
from runbake.verify.policy import Policy, builder_check, run_checks
from runbake.verify.record import layers_of, manifests_of
from runbake.verify.said import builders_of, contradictions, signature_checks, statements_about
from runbake.verify.verdict import Check, Verdict
from runbake_serving import contract

_SMALL_BYTES = 16 << 20
_THREADS = 2
_MODEL = PurePosixPath(contract.MODEL_ROOT.lstrip("/"))
_LABEL_FILE = PurePosixPath(contract.PROVENANCE_FILE.lstrip("/"))
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Platform:
    """One platform's documents; `annotations` is None where the format has none."""

    digest: Digest
    labels: dict[str, str]
    annotations: dict[str, str] | None
    layers: tuple[tuple[Descriptor, Digest], ...]  # with the diff_id that the config gives


def verify(ref: ImageRef, registry: Registry, policy: Policy, cache: Path) -> Verdict:
    """Read the whole image and everything attached to it; what is wrong is in the verdict, all of it.

    Raises:
        ManifestNotFound: the registry has no such image.
        VerificationFailed: its documents cannot be read at all.
        RegistryError: the registry breaks.
    """
    top = registry.fetch_manifest(ref.name, str(ref.digest or ref.tag or "latest"))
    try:
        return _verified(ref, top, registry, policy, cache)
    except _MALFORMED as error:
        # Whoever can push there writes these documents.
        raise VerificationFailed(f"{ref} is no image of runbake: {error!r}"[:500]) from error


def _verified(ref: ImageRef, top: Manifest, registry: Registry, policy: Policy, cache: Path) -> Verdict:
    checks: list[Check] = []
    label_files: dict[str, dict[str, Any]] = {}
    platforms = [_platform(ref, manifest, registry) for manifest in manifests_of(ref, top, registry)]
    for platform in platforms:
        found, body = _image_checks(ref, platform, registry, cache)
        checks += found
        if body is not None:
            label_file = parse_label_file(body)
            label_files[Digest.of(body)] = label_file
            checks += run_checks(policy, label_file)
    digests = tuple(dict.fromkeys((top.digest, *(platform.digest for platform in platforms))))
    said, unread = statements_about(digests, ref, registry, policy)
    checks += [*unread, *signature_checks(said, policy, digests), *contradictions(said, label_files, policy)]
    checks += builder_check(policy, builders_of(said))
    named = {each.digest: each.labels.get(contract.LABEL_PROVENANCE_DIGEST, "") for each in platforms}
    checks += evaluation_checks(said, policy, named, label_files)
    return Verdict(reference=f"{ref.repository}@{top.digest}", checks=tuple(checks))


def _platform(ref: ImageRef, manifest: Manifest, registry: Registry) -> _Platform:
    document = json.loads(manifest.body)
    config = json.loads(registry.read_blob(ref.name, Digest(document["config"]["digest"]), _SMALL_BYTES))
    diff_ids = [Digest(each) for each in config["rootfs"]["diff_ids"]]
    return _Platform(
        digest=manifest.digest,
        labels=dict(config["config"].get("Labels") or {}),
        annotations=document.get("annotations"),
        layers=tuple(zip(layers_of(document), diff_ids, strict=True)),
    )


def _image_checks(
    ref: ImageRef, platform: _Platform, registry: Registry, cache: Path
) -> tuple[list[Check], bytes | None]:
    """What the layers hold, and the label file where it is the one that the label names."""
    cache.mkdir(parents=True, exist_ok=True)
    with scratch_directory(cache) as scratch, Crew() as crew:
        results = crew.each(
            lambda layer: _scanned(ref, layer, registry, scratch), platform.layers, threads=_THREADS
        )
    problems = [result for result in results if isinstance(result, str)]
    checks = [Check(what="layer", outcome="FAILED", text=problem) for problem in problems]
    if problems:
        return checks, None
    layers = [result for result, _ in (each for each in results if not isinstance(each, str))]
    bodies = [body for _, body in (each for each in results if not isinstance(each, str)) if body]
    size = sum(descriptor.size_bytes for descriptor, _ in platform.layers)
    text = f"{len(layers)} layers, {size / (1 << 20):.1f} MiB, each as its digests say"
    checks.append(Check(what="layers", outcome="ok", text=text))
    seen = seen_files(layers)
    body = _label_file(seen, bodies, platform.labels)
    if body is None:
        text = f"{contract.PROVENANCE_FILE} is not the one that the label names"
        if not platform.labels.get(contract.LABEL_PROVENANCE_DIGEST):
            text = f"runbake did not make this image: it has no label {contract.LABEL_PROVENANCE_DIGEST}"
        return [*checks, Check(what="label file", outcome="FAILED", text=text)], None
    checks.append(Check(what="label file", outcome="ok", text=str(Digest.of(body))))
    return [*checks, _labels_check(platform, body), _files_check(seen, body)], body


def _scanned(
    ref: ImageRef, layer: tuple[Descriptor, Digest], registry: Registry, scratch: Path
) -> tuple[ScannedLayer, bytes] | str:
    descriptor, diff_id = layer
    blob = scratch / f"{descriptor.digest.hex}"
    try:
        registry.fetch_blob(ref.name, descriptor, blob)
        is_gzip = compression_of(descriptor.media_type) == "gzip"
        found = scanned(blob, descriptor.digest, is_gzip=is_gzip, roots=(_MODEL, _LABEL_FILE))
        if found.diff_id != diff_id:
            return f"layer {descriptor.digest} unpacks to {found.diff_id}, the config says {diff_id}"
        return found, _text_of_label_file(blob, is_gzip, found)
    except (DigestMismatch, VerificationFailed) as error:
        return str(error)
    finally:
        blob.unlink(missing_ok=True)


def _text_of_label_file(blob: Path, is_gzip: bool, layer: ScannedLayer) -> bytes:
    """The label file, where this layer has it; its digest was taken already."""
    if not any(change.path == _LABEL_FILE and change.kind == "file" for change in layer.changes):
        return b""
    with tarfile.open(blob, mode="r:gz" if is_gzip else "r:") as tar:
        source = tar.extractfile(str(_LABEL_FILE))
        return source.read(_SMALL_BYTES) if source is not None else b""


def _label_file(seen: dict[str, Change], bodies: list[bytes], labels: dict[str, str]) -> bytes | None:
    there = seen.get(contract.PROVENANCE_FILE)
    named = labels.get(contract.LABEL_PROVENANCE_DIGEST, "")
    if there is None or f"sha256:{there.sha256}" != named:
        return None
    return next((body for body in bodies if Digest.of(body) == named), None)


def _labels_check(platform: _Platform, body: bytes) -> Check:
    expected = dict(labels_of(parse_label_file(body), Digest.of(body)))
    wrong = {key for key, value in expected.items() if platform.labels.get(key) != value}
    ours = {key for key in platform.labels if key.startswith(contract.LABEL_NAMESPACE)}
    wrong |= ours - expected.keys()
    if platform.annotations is not None:
        wrong |= {key for key, value in platform.annotations.items() if expected.get(key) != value}
    if wrong:
        text = f"not what the label file says: {', '.join(sorted(wrong)[:5])}"
        return Check(what="labels", outcome="FAILED", text=text)
    return Check(what="labels", outcome="ok", text=f"{len(expected)} labels say what the label file says")


def _files_check(seen: dict[str, Change], body: bytes) -> Check:
    listed = {
        f"{contract.MODEL_ROOT}/{file['path']}": file["sha256"]
        for file in parse_label_file(body)["model"]["files"]  # type: ignore[index]
    }
    there = {
        path: change.sha256 or "a link"
        for path, change in seen.items()
        # A link in the place of the directory is no model either.
        if path.startswith(f"{contract.MODEL_ROOT}/") or (change.kind == "link")
    }
    wrong = sorted(path for path in listed.keys() | there.keys() if listed.get(path) != there.get(path))
    if wrong:
        text = f"not what the label file lists: {', '.join(wrong[:5])}"
        return Check(what="model files", outcome="FAILED", text=text)
    return Check(what="model files", outcome="ok", text=f"{len(listed)} files as the label file lists them")
