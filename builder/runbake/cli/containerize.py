"""`containerize` and its relatives `prove` and `render`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from runbake.cli.attesting import attesting_options, open_attester
from runbake.cli.context import (
    cache_limit_option,
    cache_option,
    insecure_registry_option,
    local_artifacts_option,
    open_doors,
    open_prover,
    open_registries,
    promote_tag_option,
    settings,
    tracking_option,
)
from runbake.cli.data_digest import data_digest_of
from runbake.cli.in_gocd import from_gocd_options, taken_from_gocd
from runbake.cli.story import TerminalStory
from runbake.errors import ConfigError, RunbakeError
from runbake.registry import ImageRef, check_tag
from runbake.release import (
    Attester,
    Doors,
    Release,
    Request,
    carry_out,
    check_outputs,
    planned,
    prove_reference,
)
from runbake.release.base_name import BaseName
from runbake.render import check_directory, write_context
from runbake.report import failed, finished, forget_report, write_report
from runbake.tracking import ByExperiment, RunRef
from runbake_serving import contract

_OTHER_ARCHIVES = frozenset(
    {".7z", ".bz2", ".gz", ".lz4", ".rar", ".tbz2", ".tgz", ".txz", ".xz", ".zip", ".zst", ".tar"}
)
"""Endings of files that would become directories of that name: whoever writes them means an archive."""

DEFAULT_REPORT = "image.json"
_LATEST_S = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""


def _chain(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


_which = _chain(
    click.option("--model-name", default="", metavar="NAME", help="Which of the run's models, by name."),
    promote_tag_option,
    click.option("--unpromoted", is_flag=True, help="Build a run that nobody promoted; it is recorded."),
)
_how = _chain(
    click.option(
        "--base",
        envvar="RUNBAKE_BASE",
        show_envvar=True,
        required=True,
        metavar="IMAGE",
        help="The base image, with {python} for the model's minor version; see `runbake base build`.",
    ),
    click.option(
        "--platform",
        default="linux/amd64",
        show_default=True,
        metavar="OS/ARCH[,…]",
        help="One or more platforms; several make an index.",
    ),
    click.option(
        "--bytecode/--no-bytecode",
        default=True,
        help="Compile Python files by the base's own interpreter: starts more than twice as fast.",
    ),
    click.option(
        "--with",
        "additions",
        multiple=True,
        type=click.Choice(sorted(contract.ADDITIONS)),
        help="Put more into the image: `arrow` for Parquet and Arrow bodies, and for batches of files.",
    ),
    click.option(
        "--trust-type",
        "trusted_types",
        multiple=True,
        metavar="TYPE",
        help="A type that a skops file may hold, such as sklearn.tree._tree.Tree; repeat for more.",
    ),
    click.option(
        "--require-safe-format",
        is_flag=True,
        help="Refuse a model that runs code of its own when it is loaded, as every pickle does.",
    ),
    click.option(
        "--dataframe-path",
        is_flag=True,
        help="Never hand the model an array: for one whose answers then differ, as the proof tells.",
    ),
    click.option(
        "--whole-wheels",
        is_flag=True,
        help="Keep what is left out of well-known wheels: their tests, headers, pyarrow's Flight.",
    ),
    click.option(
        "--relock", is_flag=True, help="Resolve the requirements again and replace the stored lock."
    ),
    click.option(
        "--lock-date",
        default="",
        metavar="RFC3339",
        help="Resolve the model's requirements as of this moment.  [default: the run's end]",
    ),
    click.option(
        "--source-date-epoch",
        envvar="SOURCE_DATE_EPOCH",
        show_envvar=True,
        type=click.IntRange(min=0, max=_LATEST_S),
        help="`created` of the image, in seconds since 1970.  [default: the run's end]",
    ),
    cache_option,
    cache_limit_option,
    tracking_option,
    local_artifacts_option,
    insecure_registry_option,
)


@click.command(
    epilog="Example: runbake containerize models:/fraud@champion --base REGISTRY/base:py311 "
    "--repository localhost:5000/fraud"
)
@click.argument("run", required=False)
@click.option("--experiment", metavar="NAME", help="In place of RUN: the experiment's latest promoted run.")
@from_gocd_options
@_which
@click.option("--repository", envvar="RUNBAKE_REPOSITORY", metavar="HOST/NAME", help="Where to push.")
@click.option(
    "--tag", "tag", multiple=True, metavar="TAG", help="A tag; repeat for more.  [default: run-<12 hex>]"
)
@click.option("--move-tag", is_flag=True, help="Let a tag that points to another image be moved.")
@click.option(
    "--output",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also write FILE.tar (for `docker load`), or with another name an OCI layout, such as DIR.oci.",
)
@click.option(
    "--format", "image_format", type=click.Choice(["oci", "docker"]), default="oci", show_default=True
)
@click.option(
    "--model-layer",
    type=click.Choice(["auto", "gzip", "none"]),
    default="auto",
    show_default=True,
    help="How the model's layer is stored; auto is none for oci, gzip for docker.",
)
@click.option("--prove/--no-prove", default=True, help="Replay the run's example in the real container.")
@click.option("--allow-unproven", is_flag=True, help="Tag platforms that no engine here can run.")
@click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="evaluation.json of this model and lock, to attach; repeatable.  [default: the run's, if recorded]",
)
@click.option(
    "--require-evaluation",
    is_flag=True,
    help="Refuse a run without a passed evaluation of the same model files and lock.",
)
@attesting_options
@click.option(
    "--data-from",
    multiple=True,
    metavar="DIR|s3://…",
    help="Hash the datasets that the run logged, where they lie below this; repeat for more.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan as JSON and write nothing.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_REPORT,
    show_default=True,
    help="The JSON document for the next stage; written on failure too.",
)
@_how
def containerize(**options: Any) -> None:
    """Build, push, prove and tag the serving image of RUN.

    RUN is a run id, runs:/ID[/NAME], models:/m-ID, models:/NAME/VERSION or models:/NAME@ALIAS. The last line
    on stdout is the image by digest.
    """
    report: Path | None = None if options["dry_run"] else options["report"]
    if report is not None:
        forget_report(report)
    try:
        release = _containerized(taken_from_gocd(options))
    except BaseException as error:
        if report is not None:
            _report_failure(report, _asked(options), error)
        raise
    if report is not None and release is not None:
        write_report(report, finished(release))
        click.echo(release.reference)


def _asked(options: dict[str, Any]) -> str:
    if options["from_gocd"]:
        return "--from-gocd"
    return options["run"] or f"--experiment {options['experiment']}"


def _containerized(options: dict[str, Any]) -> Release | None:
    """What came of it; None after a dry run."""
    request = _request(options)
    check_outputs(request)
    doors = _doors(options)
    if request.repository is not None and not options["dry_run"]:
        doors = replace(doors, attester=_attester(options))
    with planned(request, doors) as plan:
        if options["dry_run"]:
            click.echo(plan.to_json())
            return None
        return carry_out(plan, doors)


def _doors(options: dict[str, Any]) -> Doors:
    return open_doors(
        options["tracking_uri"],
        options["cache"],
        cache_limit_gb=options["cache_limit"],
        local_artifacts=options["local_artifacts"],
        promote_tag=options["promote_tag"],
    )


def _attester(options: dict[str, Any]) -> Attester:
    attester = open_attester(
        options["sign_key"], options["builder_id"], options["invocation"], settings().environment
    )
    story, region = TerminalStory(settings().console), settings().environment.get("AWS_REGION", "")
    return replace(attester, data_digest=data_digest_of(options["data_from"], region, story))


def _report_failure(report: Path, asked: str, error: BaseException) -> None:
    try:
        write_report(report, failed(asked, error))
    except RunbakeError as unwritable:
        # What failed first is what the user must read.
        TerminalStory(settings().console).warn(str(unwritable))


def _request(options: dict[str, Any]) -> Request:
    layout, archive = _outputs(options.get("output", ()))
    repository = ImageRef.parse(options["repository"]) if options.get("repository") else None
    if repository is None and layout is None and archive is None:
        raise click.UsageError("nothing to make: pass --repository, --output, or both")
    if repository is not None and (repository.tag or repository.digest):
        raise click.UsageError("--repository wants HOST/NAME; give the tag with --tag")
    return Request(
        run=_run_of(options),
        model_name=options["model_name"],
        base=BaseName.parse(options["base"]),
        platforms=_platforms(options["platform"]),
        repository=repository,
        tags=tuple(check_tag(tag) for tag in dict.fromkeys(options.get("tag", ()))),
        layout=layout,
        archive=archive,
        image_format=options.get("image_format", "oci"),
        model_layer=options.get("model_layer", "auto"),
        bytecode=options["bytecode"],
        whole_wheels=options["whole_wheels"],
        additions=tuple(sorted(set(options["additions"]))),
        trusted_types=_types(options["trusted_types"]),
        require_safe_format=options["require_safe_format"],
        dataframe_path=options["dataframe_path"],
        prove=options.get("prove", False),
        allow_unpromoted=options["unpromoted"],
        allow_unproven=options.get("allow_unproven", False),
        move_tag=options.get("move_tag", False),
        relock=options["relock"],
        lock_date=checked_date(options["lock_date"]),
        created=_created(options["source_date_epoch"]),
        invocation=options.get("invocation"),
        evaluations=tuple((str(path), _text(path)) for path in dict.fromkeys(options.get("evaluations", ()))),
        require_evaluation=options.get("require_evaluation", False),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _run_of(options: dict[str, Any]) -> RunRef | ByExperiment:
    run, experiment = options["run"], options.get("experiment")
    if bool(run) == bool(experiment):
        raise click.UsageError("name one thing to build: RUN or --experiment NAME, or --from-gocd")
    return RunRef.parse(run) if run else ByExperiment(name=str(experiment))


def _platforms(text: str) -> tuple[str, ...]:
    platforms = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for platform in platforms:
        if platform not in ("linux/amd64", "linux/arm64"):
            raise click.UsageError(f"--platform knows linux/amd64 and linux/arm64, not {platform!r}")
    return platforms


def _types(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        # They are joined by commas on their way into the image.
        if not all(part.isidentifier() for part in name.split(".")) or "." not in name:
            raise click.UsageError(f"--trust-type wants a type such as package.module.Class, not {name!r}")
    return tuple(sorted(set(names)))


def _outputs(paths: tuple[Path, ...]) -> tuple[Path | None, Path | None]:
    archives = [path for path in paths if path.suffix == ".tar"]
    layouts = [path for path in paths if path.suffix != ".tar"]
    for path in layouts:
        if path.suffix.lower() in _OTHER_ARCHIVES and not path.is_dir():
            raise click.UsageError(
                f"--output writes FILE.tar, or a directory such as DIR.oci; {path.name} is neither"
            )
    if len(archives) > 1 or len(layouts) > 1:
        raise click.UsageError("--output takes one directory and one .tar file at most")
    return (layouts[0] if layouts else None, archives[0] if archives else None)


def checked_date(text: str) -> str:
    """The moment in UTC, "" for none.

    Raises:
        ConfigError: it is not RFC 3339.
    """
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--lock-date is not RFC 3339: {text!r}", hint="like 2026-11-20T00:00:00Z"
        ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _created(epoch: int | None) -> str:
    if epoch is None:
        return ""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@click.command("prove", epilog="Example: runbake prove localhost:5000/fraud@sha256:0123456789abcdef…")
@click.argument("ref")
@cache_option
@insecure_registry_option
def prove_command(ref: str, cache: Path) -> None:
    """Prove the image REF on this machine's engine, now.

    Runs the image as in production, without a network, and compares its answer to its run's own example with
    mlflow.pyfunc's.
    """
    image = ImageRef.parse(ref)
    proof, digest = prove_reference(image, open_registries()(image.host), open_prover(cache))
    click.echo(f"{digest} {proof.platform} {proof.kind}")


@click.command(epilog="Example: runbake render models:/fraud/7 ./context --base REGISTRY/base:py311")
@click.argument("run")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@_which
@_how
def render(directory: Path, **options: Any) -> None:
    """Write RUN's image as a Docker context into DIRECTORY, for `docker build`.

    An export, not a second builder: the same files under the same configuration, without attestation.
    """
    request = _request({**options, "output": (directory,)})
    if len(request.platforms) > 1:
        raise click.UsageError("a Docker context is for one --platform")
    check_directory(directory)
    doors = _doors(options)
    with planned(request, doors) as plan:
        write_context(plan, directory, doors)
    click.echo(str(directory))
