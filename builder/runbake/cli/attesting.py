"""Who builds, and what signs: the options and the environment behind the statements of a release."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import click

from runbake.attestation import open_signer
from runbake.gocd import Invocation
from runbake.release import Attester

LOCAL = "https://runbake.dev/builders/local/v1"
GOCD = "https://runbake.dev/builders/gocd/v1"
CI = "https://runbake.dev/builders/ci/v1"


def attesting_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--sign-key` and `--builder-id`, which `open_attester` takes."""
    key = click.option(
        "--sign-key",
        envvar="RUNBAKE_SIGN_KEY",
        show_envvar=True,
        default="",
        metavar="FILE|awskms:ID",
        help="Sign what is said about the image: a PEM file, or a key in AWS KMS.  [default: unsigned]",
    )
    builder = click.option(
        "--builder-id",
        envvar="RUNBAKE_BUILDER_ID",
        show_envvar=True,
        default="",
        metavar="URI",
        help="Who builds, for policies.  [default: local, the GoCD server, or CI, as the environment says]",
    )
    return key(builder(command))


def open_attester(
    sign_key: str, builder_id: str, invocation: Invocation | None, environment: Mapping[str, str]
) -> Attester:
    """Who says what about the image.

    Raises:
        SigningError: the key cannot be used; nothing is built then.
    """
    return Attester(
        signer=open_signer(sign_key) if sign_key else None,
        builder_id=builder_id or builder_of(invocation, environment),
        invocation_id=_invocation_id(invocation, environment),
        started_at=datetime.now(UTC),
        now=lambda: datetime.now(UTC),
    )


def builder_of(invocation: Invocation | None, environment: Mapping[str, str]) -> str:
    """The default builder id: a GoCD server by its own address, another CI, or this machine.

    It says where a build claims to have run; what makes it true is the key, which only that place has.
    """
    if invocation is not None:
        return invocation.server or GOCD
    if environment.get("GO_PIPELINE_NAME"):
        return GOCD
    return CI if environment.get("CI") else LOCAL


def _invocation_id(invocation: Invocation | None, environment: Mapping[str, str]) -> str:
    if invocation is not None:
        return invocation.url or invocation.locator
    if environment.get("GITHUB_RUN_ID"):
        host, repository = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
        return f"{host}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}"
    return f"urn:uuid:{uuid.uuid4()}"
