"""`verify`: for people, and as an admission step."""

from __future__ import annotations

import json
from pathlib import Path

import click

from runbake.attestation import read_verifying_key
from runbake.cli.context import cache_option, insecure_registry_option, open_registries
from runbake.cli.story import one_line
from runbake.errors import PolicyViolated, VerificationFailed
from runbake.registry import ImageRef
from runbake.verify import Policy, Verdict, verify


@click.command("verify", epilog="Example: runbake verify localhost:5000/fraud:7 --key release.pub")
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
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@cache_option
@insecure_registry_option
def verify_command(
    ref: str,
    keys: tuple[Path, ...],
    require_signed: bool,
    builder_ids: tuple[str, ...],
    require_clean_commit: bool,
    require_safe_format: bool,
    require_evaluation: bool,
    as_json: bool,
    cache: Path,
) -> None:
    """Check the image REF: every layer, every model file, labels, signatures, and the policy given by flags.

    Exit status 0: all of it holds. 82: something is not what it says. 83: true, but not what was required.
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
    _print(verdict, as_json)
    _raise(verdict)


def _print(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(verdict.to_json(), indent=1, ensure_ascii=False))
        return
    for check in verdict.checks:
        click.echo(f"  {check.outcome:<9} {check.what:<12} {one_line(check.text)}")
    click.echo(verdict.reference)


def _raise(verdict: Verdict) -> None:
    for outcome, error in (("FAILED", VerificationFailed), ("REFUSED", PolicyViolated)):
        found = [check for check in verdict.checks if check.outcome == outcome]
        if found:
            lines = "\n".join(f"{check.what}: {check.text}" for check in found)
            raise error(f"{verdict.reference}\n{lines}")
