"""`verify`: for people, and as an admission step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from runbake.attestation import read_verifying_key
from runbake.cli.context import (
    cache_option,
    insecure_registry_option,
    local_artifacts_option,
    open_doors,
    open_registries,
    tracking_option,
)
from runbake.cli.story import one_line
from runbake.errors import ConfigError, PolicyViolated, RebuildDiffers, VerificationFailed
from runbake.registry import ImageRef
from runbake.release import Doors, Request, assemble, planned, request_again
from runbake.store import Store
from runbake.verify import Check, Policy, Rebuilt, Verdict, read_record, rebuild_checks, verify

_ERRORS = (("FAILED", VerificationFailed), ("REFUSED", PolicyViolated), ("DIFFERS", RebuildDiffers))


@click.command("verify", epilog="Example: runbake verify localhost:5000/fraud:7 --key release.pub --rebuild")
@click.argument("ref")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A trusted public key (PEM); repeat for more. One of them must have signed the provenance.",
)
@click.option("--require-signed", is_flag=True, help="Refuse what no --key signed.")
@click.option(
    "--builder-id",
    "builder_ids",
    multiple=True,
    metavar="URI",
    help="Refuse other builders; may repeat.",
)
@click.option(
    "--require-clean-commit",
    is_flag=True,
    help="Refuse a run without a commit, or with changes beside it.",
)
@click.option("--require-safe-format", is_flag=True, help="Refuse a model that runs code when it is loaded.")
@click.option(
    "--require-evaluation",
    is_flag=True,
    help="Refuse an image whose newest signed evaluation did not pass its gates, or that has none.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Build it again from what is recorded, from nothing that is cached here, and compare every byte.",
)
@click.option(
    "--base",
    envvar="RUNBAKE_BASE",
    show_envvar=True,
    default="",
    metavar="IMAGE",
    help="With --rebuild: where the base is now, whatever its tag; the recorded digest counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@cache_option
@tracking_option
@local_artifacts_option
@insecure_registry_option
def verify_command(
    ref: str,
    keys: tuple[Path, ...],
    require_signed: bool,
    builder_ids: tuple[str, ...],
    require_clean_commit: bool,
    require_safe_format: bool,
    require_evaluation: bool,
    rebuild: bool,
    base: str,
    as_json: bool,
    cache: Path,
    tracking_uri: str | None,
    local_artifacts: bool,
) -> None:
    """Check the image REF: every layer, every model file, labels, signatures, and the policy given by flags.

    Exit status 0: all of it holds. 82: something is not what it says. 83: true, but not what was required.
    84: built again, it is another image.
    """
    # Whoever may push writes the label file; only a signed provenance holds it to what the release saw.
    required = (require_signed, builder_ids, require_clean_commit, require_safe_format, require_evaluation)
    if any(required) and not keys:
        raise click.UsageError(
            "--require-signed, --builder-id, --require-clean-commit, --require-safe-format and "
            "--require-evaluation need the key that is trusted: --key FILE"
        )
    policy = Policy(
        keys=tuple(read_verifying_key(path) for path in keys),
        require_signed=require_signed,
        builder_ids=builder_ids,
        require_clean_commit=require_clean_commit,
        require_safe_format=require_safe_format,
        require_evaluation=require_evaluation,
    )
    image = ImageRef.parse(ref)
    verdict = verify(image, open_registries()(image.host), policy, cache)
    # Of what is not what it says, nothing is built.
    if rebuild and not verdict.with_outcome("FAILED"):
        doors = open_doors(
            tracking_uri, cache, cache_limit_gb=0, local_artifacts=local_artifacts, promote_tag="promote=true"
        )
        again = _built_again(ImageRef.parse(verdict.reference), policy, base, doors)
        verdict = replace(verdict, checks=(*verdict.checks, *again))
    _print(verdict, as_json)
    _raise(verdict)


def _built_again(ref: ImageRef, policy: Policy, base: str, doors: Doors) -> tuple[Check, ...]:
    """What comes of building it again in an empty store, beside what is in the registry."""
    registry = doors.registry(ref.host)
    record = read_record(ref, registry, policy)
    if not base and not record.key:
        # The base's interpreter is run here: whoever may push to the registry must not choose it.
        raise ConfigError(
            f"nobody trusted says which base {ref} was built on, and its Python would be run here",
            hint="name the base with --base (RUNBAKE_BASE), or pass the --key that signed the provenance",
        )
    request = request_again(record.parameters, tuple(each.label_file for each in record.platforms), base)
    with doors.store.scratch() as scratch:
        empty = replace(doors, store=Store(scratch / "store"))
        with _rebuilt(request, empty) as rebuilt:
            checks = rebuild_checks(
                record, rebuilt, lambda layer, path: registry.fetch_blob(ref.name, layer, path), scratch
            )
            return tuple(checks)


@contextmanager
def _rebuilt(request: Request, doors: Doors) -> Iterator[Rebuilt]:
    with planned(request, doors) as plan:
        assembled = assemble(plan, doors)
        label_files = tuple(json.loads(each.body) for each in assembled.provenance)
        yield Rebuilt(image=assembled.image, label_files=label_files)


def _print(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verdict.to_json(), indent=1, ensure_ascii=False))
        return
    for check in verdict.checks:
        click.echo(f"  {check.outcome:<9} {check.what:<12} {one_line(check.text)}")
    click.echo(verdict.reference)


def _raise(verdict: Verdict) -> None:
    for outcome, error in _ERRORS:
        found = [check for check in verdict.checks if check.outcome == outcome]
        if found:
            lines = "\n".join(f"{check.what}: {check.text}" for check in found)
            raise error(f"{verdict.reference}\n{lines}")
