"""`image.json`: what a release hands to the next stage, also when it failed."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runbake.errors import ConfigError, DiskFull, RunbakeError
from runbake.output import forget, written
from runbake.redaction import redacted
from runbake.release import Release
from runbake_serving.contract import VERSION

SCHEMA = "https://runbake.dev/schema/image/v1"


def finished(release: Release) -> dict[str, object]:
    """The document of a release that came to its end."""
    plan, image = release.plan, release.assembled.image
    transfer = release.transfer
    return {
        "schema": SCHEMA,
        "status": "done",
        "tool": {"name": "runbake", "version": VERSION},
        "run": plan.run.run_id,
        "model": redacted(plan.run.model_uri),
        "promotion": {
            "how": plan.run.promotion.how,
            "detail": plan.run.promotion.detail,
            "orderedBy": plan.run.promotion.ordered_by,
        },
        "reference": release.reference,
        "digest": str(image.digest),
        "mediaType": image.media_type,
        "tags": list(release.tags),
        "platforms": [
            {
                "platform": platform.platform,
                "digest": str(platform.descriptor.digest),
                "base": str(planned.base.digest),
                "lock": planned.lock.digest,
                "lockStoredOnRun": planned.stored,
                "provenance": str(provenance.digest),
                "layers": [
                    {
                        "name": layer.name,
                        "digest": str(layer.blob.digest),
                        "diffId": str(layer.diff_id),
                        "size": layer.blob.size_bytes,
                    }
                    for layer in platform.layers
                ],
            }
            for platform, planned, provenance in zip(
                image.platforms, plan.platforms, release.assembled.provenance, strict=True
            )
        ],
        "proofs": [proof.to_json() for proof in release.proofs],
        "gocd": plan.request.invocation.to_json() if plan.request.invocation else None,
        "transfer": {"sent": transfer.sent, "sentBytes": transfer.sent_bytes, "kept": transfer.kept}
        if transfer
        else None,
    }


@contextmanager
def reported(
    path: Path | None, *, asked: str, schema: str, gocd: object = None
) -> Iterator[dict[str, object]]:
    """What the block puts into the yielded document is written at its end, or how the block failed.

    Args:
        path: None writes nothing.
        asked: what the command was told, for the document of a failure.
        schema: the document's own.
        gocd: the job that runs this.
    """
    if path is not None:
        forget_report(path)
    told: dict[str, object] = {}
    try:
        yield told
    except BaseException as error:
        if path is not None:
            try:
                write_report(path, {**failed(asked, error, schema=schema), "gocd": gocd})
            except RunbakeError as unwritable:
                # What failed first is what the user must read.
                error.add_note(str(unwritable))
        raise
    tool = {"name": "runbake", "version": VERSION}
    if path is not None:
        write_report(path, {"schema": schema, "status": "done", "tool": tool, **told, "gocd": gocd})


def failed(asked: str, error: BaseException, *, schema: str = SCHEMA) -> dict[str, object]:
    """The document of a command that failed, was interrupted, or met a bug."""
    ours = isinstance(error, RunbakeError)
    return {
        "schema": schema,
        "status": "failed",
        "tool": {"name": "runbake", "version": VERSION},
        "asked": asked,
        "error": {
            "kind": type(error).__name__,
            "exitCode": _exit_code_of(error),
            "problem": str(error) if ours else "the command's own output says more",
            "try": error.hint if isinstance(error, RunbakeError) else "",
            "done": list(getattr(error, "__notes__", ())),
        },
    }


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 70)
    return code if isinstance(code, int) else 1


def write_report(path: Path, document: Mapping[str, object]) -> None:
    """Write the document whole or not at all; into a fifo or a device it is written, which stays what it is.

    Raises:
        ConfigError: there can be no such file.
        DiskFull: no space is left for it.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    with _named(path), written(path) as out:
        out.write(text.encode("utf-8", "replace"))


def forget_report(path: Path) -> None:
    """Remove an earlier document, which a killed command would leave for the next stage to believe.

    Raises:
        ConfigError: it cannot be removed, or no document can be written there.
    """
    with _named(path):
        forget(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left for {path}", hint="free some, or name another --report") from error
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="name another file with --report"
        ) from error
