"""What GoCD's variables say of a job: which run it is about, and where it runs. Pure: text in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from runbake.errors import NotInGocd
from runbake.tracking import RunRef

RUN_VARIABLE = "RUNBAKE_RUN_ID"
"""The variable that a pipeline without a package material declares, and `gocd trigger` fills."""

REQUEST_VARIABLE = "RUNBAKE_REQUEST"
"""The variable that names one promotion; it is part of the pipeline's label."""

_ARTIFACT = re.compile(r"GO_PACKAGE_(?P<name>[A-Z0-9_]+)_ARTIFACT_URI")
_REVISION = re.compile(
    r"GO_(?:(?:TO_|FROM_)?REVISION(?:_\w+)?|DEPENDENCY_(?:LABEL|LOCATOR)_\w+|(?:PACKAGE|SCM)_\w+_LABEL)"
)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MOST_REVISIONS = 100
_LONGEST_VALUE = 255
_LONGEST_TAG = 4000
_NO_JOB_HINT = "--from-gocd is for jobs of a GoCD agent; elsewhere name RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The GoCD job that runs this command.

    `counter` and `stage_counter` are GoCD's, as text; `server` has no credentials, and is "" where GoCD names
    none. `revisions` are its variables of what went in (revisions, upstream labels and locators), sorted.
    """

    server: str
    pipeline: str
    counter: str
    label: str
    stage: str
    stage_counter: str
    job: str
    trigger_user: str
    revisions: tuple[tuple[str, str], ...]

    @property
    def locator(self) -> str:
        """`pipeline/counter/stage/stagecounter/job`, as GoCD writes it."""
        return "/".join((self.pipeline, self.counter, self.stage, self.stage_counter, self.job))

    @property
    def url(self) -> str:
        """The job's page; "" where GoCD names no server."""
        return f"{self.server}/tab/build/detail/{quote(self.locator)}" if self.server else ""

    @property
    def value_stream_url(self) -> str:
        """The page that shows what went into this pipeline run and what came of it."""
        path = quote(f"{self.pipeline}/{self.counter}")
        return f"{self.server}/pipelines/value_stream_map/{path}" if self.server else ""

    def to_json(self) -> dict[str, object]:
        """The document for `image.json` and its relatives."""
        return {
            "pipeline": self.pipeline,
            "counter": self.counter,
            "label": self.label,
            "stage": self.stage,
            "stageCounter": self.stage_counter,
            "job": self.job,
            "triggerUser": self.trigger_user,
            "url": self.url,
            "valueStreamMap": self.value_stream_url,
            "revisions": dict(self.revisions),
        }

    def tags(self) -> dict[str, str]:
        """The tags for the MLflow run, each within MLflow's limits."""
        told = {
            "runbake.gocd.job": self.url or self.locator,
            "runbake.gocd.label": self.label,
            "runbake.gocd.trigger_user": self.trigger_user,
            "runbake.gocd.revisions": ", ".join(f"{name}={value}" for name, value in self.revisions),
        }
        return {key: value[:_LONGEST_TAG] for key, value in told.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """The run that a job is about, and what GoCD's package material says of it; "" where it says nothing.

    `tracking_uri` may be a bridge, which knows searches only; so a tracking server that the user names wins.
    `promote_tag` is `NAME=VALUE`.
    """

    run: RunRef
    material: str
    tracking_uri: str
    experiment_id: str
    artifact_uri: str
    promote_tag: str


def invocation_of(variables: Mapping[str, str]) -> Invocation:
    """The job that these variables describe.

    Raises:
        NotInGocd: they describe none; every missing one is listed.

    Source: GoCD, content/faq/dev_use_current_revision_in_build.md.
    """
    needed = ("PIPELINE_NAME", "PIPELINE_COUNTER", "STAGE_NAME", "STAGE_COUNTER", "JOB_NAME")
    missing = [f"GO_{name}" for name in needed if not variables.get(f"GO_{name}")]
    if missing:
        raise NotInGocd(f"this is no job of GoCD: {', '.join(missing)} not set", hint=_NO_JOB_HINT)
    revisions = sorted(
        (name, value[:_LONGEST_VALUE])
        for name, value in variables.items()
        if value and _REVISION.fullmatch(name)
    )
    return Invocation(
        server=_address(variables.get("GO_SERVER_URL", "")),
        pipeline=variables["GO_PIPELINE_NAME"],
        counter=variables["GO_PIPELINE_COUNTER"],
        label=variables.get("GO_PIPELINE_LABEL", ""),
        stage=variables["GO_STAGE_NAME"],
        stage_counter=variables["GO_STAGE_COUNTER"],
        job=variables["GO_JOB_NAME"],
        trigger_user=variables.get("GO_TRIGGER_USER", ""),
        revisions=tuple(revisions[:_MOST_REVISIONS]),
    )


def job_run(variables: Mapping[str, str], *, material: str = "") -> JobRun:
    """The run that the job is about: from `RUNBAKE_RUN_ID`, else from its package material.

    Args:
        variables: the job's environment.
        material: the material's name; "" takes the only candidate.

    Raises:
        NotInGocd: nothing names a run, several materials could (all are listed), or it is no run id.
    """
    asked = variables.get(RUN_VARIABLE, "").strip()
    if asked and not material:
        return JobRun(
            run=_run_ref(asked, RUN_VARIABLE),
            material="",
            tracking_uri="",
            experiment_id="",
            artifact_uri="",
            promote_tag="",
        )
    name = _material(variables, material)
    package, variable = f"GO_PACKAGE_{name}", f"GO_PACKAGE_{name}_LABEL"
    tag = (variables.get(f"{package}_PROMOTION_TAG_NAME"), variables.get(f"{package}_PROMOTION_TAG_VALUE"))
    return JobRun(
        # A revision of a pull request's build is `<promoted>;<run>;<run>…`.
        run=_run_ref(variables[variable].partition(";")[0].strip(), variable),
        material=name,
        tracking_uri=variables.get(f"GO_REPO_{name}_MLFLOW_URL", "").rstrip("/"),
        experiment_id=variables.get(f"{package}_EXPERIMENT_ID", ""),
        artifact_uri=variables.get(f"{package}_ARTIFACT_URI", ""),
        promote_tag=f"{tag[0]}={tag[1]}" if all(tag) else "",
    )


def escaped(name: str) -> str:
    """The name as GoCD writes it into variables; `escaped(escaped(n)) == escaped(n)`.

    Source: GoCD, EnvironmentVariableContext.escapeEnvironmentVariable.
    """
    return _NOT_IN_A_NAME.sub("_", name).upper()


def _material(variables: Mapping[str, str], material: str) -> str:
    candidates = sorted(
        found["name"]
        for variable in variables
        if (found := _ARTIFACT.fullmatch(variable)) and variables.get(f"GO_PACKAGE_{found['name']}_LABEL")
    )
    listed = ", ".join(candidates) or "none"
    if material:
        name = escaped(material)
        if not variables.get(f"GO_PACKAGE_{name}_LABEL"):
            raise NotInGocd(
                f"there is no package material {material!r}: GO_PACKAGE_{name}_LABEL is not set; "
                f"with an artifact URI there are: {listed}",
                hint="the name is the material's key in the pipeline's YAML, else REPOSITORY_PACKAGE",
            )
        return name
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise NotInGocd(
            f"{len(candidates)} package materials could name the run: {listed}",
            hint="choose one with --gocd-material NAME",
        )
    raise NotInGocd(
        f"nothing names a run: {RUN_VARIABLE} is empty, and no GO_PACKAGE_…_ARTIFACT_URI has a _LABEL",
        hint="give the pipeline an mlflow-gocd package material, or start it with: runbake gocd trigger",
    )


def _run_ref(text: str, variable: str) -> RunRef:
    if not _RUN_ID.fullmatch(text):
        raise NotInGocd(
            f"{variable} is {text[:80]!r}, which is no run id", hint="a run id has 32 lower-case hex digits"
        )
    return RunRef.parse(text)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
