"""`evaluate`: a model on its test set, beside the one before it, and whether it may go on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbake.attestation import Statement, Subject, attach, bundle_of
from runbake.attestation.statement import EVALUATION
from runbake.cli.asking import environment_options, places_of
from runbake.cli.attesting import attesting_options, open_attester
from runbake.cli.context import (
    cache_option,
    insecure_registry_option,
    open_registries,
    open_tracking,
    settings,
    tracking_option,
)
from runbake.cli.evaluating import Asked, evaluated
from runbake.cli.story import TerminalStory
from runbake.errors import ConfigError, GatesFailed, NotDecidable
from runbake.gocd import invocation_of
from runbake.image import Descriptor
from runbake.output import written
from runbake.registry import ImageRef
from runbake.release import Attester
from runbake.report import forget_report, reported
from runbake.tracking import Tracking

if TYPE_CHECKING:
    from runbake.evaluation import Evaluation, Gate, Kind

_SCHEMA = "https://runbake.dev/schema/evaluation/v1"


class _GateType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """KEY=VALUE pairs on the command line, a table in runbake.toml."""

    name = "KEY=VALUE,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, Any]:
        """The pairs as a mapping; what they mean is checked later."""
        if isinstance(value, Mapping):
            return value
        pairs = [pair.partition("=") for pair in str(value).split(",")]
        if any(not sign for _, sign, _ in pairs):
            self.fail(f"{value!r} is not KEY=VALUE,KEY=VALUE", param, ctx)
        if len({key.strip() for key, _, _ in pairs}) < len(pairs):
            self.fail(f"{value!r} says something twice", param, ctx)
        return {key.strip(): text.strip() for key, _, text in pairs}


@click.command(
    "evaluate",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: runbake evaluate localhost:5000/fraud:run-0123456789ab --data test.csv --target fraud "
    "--baseline localhost:5000/fraud:live --gate metric=accuracy,worse-by-at-most=1%,slices=true",
)
@click.argument("ref")
@click.option(
    "--data", default="", metavar="URI",
    help="The test set: file, directory, glob or s3://.  [default: the one that the run logged]",
)  # fmt: skip
@click.option(
    "--data-from", multiple=True, metavar="DIR|s3://…",
    help="Without --data: where a test set that the run logged may be read; repeatable.",
)  # fmt: skip
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="COLUMN",
    help="The truth; several for multilabel.  [default, without --data: the column that is no input]",
)
@click.option(
    "--baseline",
    default="auto",
    show_default=True,
    metavar="auto|none|RUN|IMAGE",
    help="What to compare with; auto takes the image that holds containerize's --tag of runbake.toml, "
    "else the run promoted before.",
)
@click.option(
    "--kind",
    type=click.Choice(["binary", "multiclass", "multilabel", "regression", "labels", "ranking"]),
    help="What kind of question it is.  [default: by target and answers]",
)
@click.option(
    "--group", default="", metavar="COLUMN",
    help="Of a ranking: rows with one value are ranked together, such as a query's.",
)  # fmt: skip
@click.option(
    "--slice", "slices", multiple=True, metavar="COLUMN",
    help="Evaluate each value of this column; repeatable.  [default: texts and booleans of the signature]",
)  # fmt: skip
@click.option(
    "--gate",
    "gates",
    multiple=True,
    type=_GateType(),
    help="A condition that has to hold; docs/evaluation.md.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    default=Path("evaluation.json"), show_default=True, help="The whole evaluation as JSON.",
)  # fmt: skip
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A page with plots."
)
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The gates as JUnit XML."
)
@click.option("--from-gocd", is_flag=True, help="Tell the GoCD job that runs this in the --report.")
@click.option(
    "--record/--no-record",
    default=False,
    help="Write metrics and evaluation to the run in MLflow, and a new lock.",
)
@click.option("--attach/--no-attach", "attached", default=False, help="Attach the evaluation to the image.")
@click.option(
    "--repository", envvar="RUNBAKE_REPOSITORY", show_envvar=True, metavar="HOST/NAME",
    help="Where images of a RUN are; its tag may name no other.",
)  # fmt: skip
@environment_options
@attesting_options
@tracking_option
@insecure_registry_option
@cache_option
def evaluate_command(
    ref: str,
    data: str,
    data_from: tuple[str, ...],
    targets: tuple[str, ...],
    baseline: str,
    kind: Kind | None,
    group: str,
    slices: tuple[str, ...],
    gates: tuple[Mapping[str, Any], ...],
    options: tuple[str, ...],
    report: Path,
    html: Path | None,
    junit: Path | None,
    from_gocd: bool,
    record: bool,
    attached: bool,
    base: str | None,
    additions: tuple[str, ...],
    trusted_types: tuple[str, ...],
    sign_key: str,
    builder_id: str,
    repository: str | None,
    tracking_uri: str | None,
    cache: Path,
) -> None:
    """Ask the image REF, or the model of a RUN, the rows of a test set, and compare it with the one before.

    REF may be the image.json of `containerize`, too. Each model answers in its own image, without network or
    credentials, as `runbake batch run` does; that of a RUN without an image beside the very wheels of its
    lock, in a process that gets nothing of this one's environment. Options that evaluate does not know are
    the job's (docs/batch.md): --column, --param, --csv-delimiter …
    The summary is Markdown on stdout. The exit status is 0 where every gate passed, 101 where one failed,
    102 where one cannot be decided, 100 where the evaluation itself cannot be done.
    """
    if data and not targets:
        raise click.UsageError("--data needs --target COLUMN, the truth")
    if (kind == "ranking" and not group) or (group and kind not in (None, "ranking")):
        raise click.UsageError("--kind ranking and --group COLUMN, the rows ranked together, are one")
    from_gates = _gates(gates)
    for path in (html, junit):
        if path is not None:
            forget_report(path)
    job = invocation_of(settings().environment) if from_gocd else None
    told_job = job.to_json() if job else None
    with reported(report, asked=ref, schema=_SCHEMA, gocd=told_job) as told:
        asked = Asked(
            data=data,
            data_from=data_from,
            targets=targets,
            group=group,
            slices=slices,
            options=options,
        )
        places = places_of(
            tracking_uri=tracking_uri,
            repository=repository,
            cache=cache,
            base=base,
            additions=additions,
            trusted_types=trusted_types,
            keep_lock=record,
            attached=attached,
        )
        evaluation = evaluated(ref, asked, baseline, kind, from_gates, places)
        told.update(evaluation.to_json())
    click.echo(_summary(evaluation), nl=False)
    _write_others(evaluation, html, junit)
    if attached:
        _attach(evaluation, open_attester(sign_key, builder_id, job, settings().environment))
    if record:
        _record(open_tracking(tracking_uri), evaluation, now_ms=time.time_ns() // 1_000_000)
    _end(evaluation)


def _gates(documents: tuple[Mapping[str, Any], ...]) -> tuple[Gate, ...]:
    try:
        from runbake.evaluation import gate_of
    except ImportError as error:
        raise ConfigError(f"evaluating needs {error.name}", hint="pip install 'runbake[evaluate]'") from error
    return tuple(gate_of(document) for document in documents)


def _write_others(evaluation: Evaluation, html: Path | None, junit: Path | None) -> None:
    from runbake.evaluation import junit_of, page_of

    if html is not None:
        title = f"Evaluation of {evaluation.candidate.run_id[:12]}"
        _write(html, page_of(evaluation, title=title).encode("utf-8", "replace"))
    if junit is not None:
        _write(junit, junit_of(evaluation))


def _write(path: Path, body: bytes) -> None:
    try:
        with written(path) as file:
            file.write(body)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _attach(evaluation: Evaluation, attester: Attester) -> None:
    """State the evaluation beside the image, whose digest it does not change."""
    image = ImageRef.parse(evaluation.candidate.image)
    registry = open_registries()(image.host)
    with TerminalStory(settings().console).step("attest") as step:
        manifest = registry.fetch_manifest(image.name, str(image.digest))
        subject = Descriptor(
            media_type=manifest.media_type, digest=manifest.digest, size_bytes=len(manifest.body)
        )
        moment = attester.now()
        # Signed with the rest: `verify --require-evaluation` goes by the newest.
        document = evaluation.to_json()
        subjects = (Subject(name=image.repository, digest=manifest.digest),)
        statement = Statement.of(subjects, EVALUATION, document)
        bundle = bundle_of(statement, attester.signer) if attester.signer else None
        now = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        attach(statement, bundle, (subject,), repository=image, registry=registry, created=now)
        step.say("signed" if bundle else "UNSIGNED: no --sign-key")


def _record(tracking: Tracking, evaluation: Evaluation, *, now_ms: int) -> None:
    metrics = {f"runbake.{one.name}": one.candidate.value for one in evaluation.comparison.metrics}
    tracking.record_metrics(evaluation.candidate.run_id, metrics, at_ms=now_ms)
    document = {"schema": _SCHEMA, "status": "done", **evaluation.to_json()}
    lock = evaluation.candidate.lock.removeprefix("sha256:")
    tracking.write_evaluation(evaluation.candidate.run_id, lock, json.dumps(document, indent=1))
    tracking.record_image(evaluation.candidate.run_id, {"runbake.evaluation": evaluation.verdict})


def _summary(evaluation: Evaluation) -> str:
    from runbake.evaluation import summary_of

    return summary_of(evaluation)


def _end(evaluation: Evaluation) -> None:
    names = {
        outcome: [one for one in evaluation.decisions if one.outcome == outcome]
        for outcome in ("failed", "undecidable")
    }
    if failed := names["failed"]:
        raise GatesFailed("\n".join(f"{one.name}: {one.why}" for one in failed))
    if open_ := names["undecidable"]:
        raise NotDecidable("\n".join(f"{one.name}: {one.why}" for one in open_))
