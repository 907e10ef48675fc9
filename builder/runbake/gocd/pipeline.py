"""A model's pipeline as GoCD reads it from a repository: `NAME.gocd.yaml`, format version 10. Pure.

Every task that runs long goes through `sh`, which keeps its process id in a file: GoCD's agent kills what is
cancelled without a word, and `on_cancel` says SIGTERM first, on which runbake removes what it started.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from runbake.errors import ConfigError
from runbake.gocd.invocation import REQUEST_VARIABLE, RUN_VARIABLE
from runbake.gocd.server import named

FORMAT_VERSION = 10

_MATERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_SECRET_PART = re.compile(r"[A-Za-z0-9_./-]{1,255}")
_PID_FILE = "runbake.pid"
_IMAGE = "image.json"
_DEPLOYMENT = "deployment.json"
_EVALUATION = "evaluation.json"
_AMI = "ami.json"
_FOLDER = "runbake"
_START = f'echo $$ > {_PID_FILE} && exec "$@"'
_CANCEL = f'kill -TERM "$(cat {_PID_FILE})"'
_SILENCE_MINUTES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A variable whose value GoCD takes from one of its secret configurations when the job starts."""

    variable: str
    config: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Secret:
        """The secret of `VARIABLE=CONFIG:KEY`; `str` of it is GoCD's reference.

        Raises:
            ConfigError: it is none.
        """
        variable, _, place = text.partition("=")
        config, _, key = place.partition(":")
        if not (
            _VARIABLE.fullmatch(variable) and _SECRET_PART.fullmatch(config) and _SECRET_PART.fullmatch(key)
        ):
            # The text may be a secret that somebody typed here.
            raise ConfigError(
                f"--secret wants VARIABLE=CONFIG:KEY, not what is given for {variable[:40]!r}",
                hint="CONFIG is the id of a secret configuration in GoCD, KEY a name in it",
            )
        return cls(variable=variable, config=config, key=key)

    def __str__(self) -> str:
        return f"{{{{SECRET:[{self.config}][{self.key}]}}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOrder:
    """What a model's pipeline is to do.

    Exactly one of `package` (a GoCD package's id: the plugin starts it) and `git` (a repository, as GoCD
    wants a material: `gocd trigger` starts it) is set. `tracking_uri` is MLflow itself, never a bridge.
    `test_data` with its `targets` and `gates` makes a stage that evaluates; "" makes none. `ami` are options
    of `runbake ami bake` without their dashes, with values, and make a stage that bakes; () makes none.
    """

    model: str
    group: str
    tracking_uri: str
    base: str
    repository: str
    package: str = ""
    git: str = ""
    branch: str = "main"
    port: int | None = None
    resources: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    test_data: str = ""
    targets: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    ami: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        wrong = []
        if bool(self.package) == bool(self.git):
            wrong.append("say one of --package ID and --git URL")
        if not _MATERIAL.fullmatch(self.model):
            wrong.append(f"--model {self.model[:80]!r} is no name for a pipeline and a container")
        if _holds_credentials(self.git):
            wrong.append("--git holds credentials; give them to GoCD's agents, or use ssh")
        for what, value in (
            ("--tracking-uri", self.tracking_uri),
            ("--base", self.base),
            ("--repository", self.repository),
        ):
            # GoCD reads `#{…}` in a pipeline as a parameter.
            if not value or "#{" in value or not value.isprintable():
                wrong.append(f"{what} is empty, or holds what GoCD would replace")
            if "@" in value.partition("://")[2].partition("/")[0]:
                wrong.append(f"{what} holds credentials; name them with --secret")
        if bool(self.test_data) != bool(self.targets) or (self.gates and not self.test_data):
            wrong.append("--test-data and --target belong together, and --gate to them")
        for text in (self.test_data, *self.targets, *self.gates):
            if "#{" in text or not text.isprintable():
                wrong.append("--test-data, --target or --gate holds what GoCD would replace")
        for name, value in self.ami:
            if "#{" in value or not value.isprintable():
                wrong.append(f"--ami {name} holds what GoCD would replace")
        if wrong:
            raise ConfigError("; ".join(wrong))


def _holds_credentials(url: str) -> bool:
    # The user of ssh is no secret (git@…); of https it may be a token.
    scheme, _, rest = url.partition("://")
    user, colon, _ = rest.partition("/")[0].rpartition("@")[0].partition(":")
    return bool(colon) or (bool(user) and "ssh" not in scheme.lower())


def pipeline_yaml(order: PipelineOrder) -> str:
    """The whole file; the same order gives the same text.

    Source: gocd-yaml-config-plugin's README, format version 10.
    """
    document = {"format_version": FORMAT_VERSION, "pipelines": {named(order.model): _pipeline(order)}}
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=110, allow_unicode=True)
    return f"# Written by `runbake gocd pipeline`: write it again rather than change it.\n{text}"


def _pipeline(order: PipelineOrder) -> dict[str, object]:
    return {
        "group": order.group,
        "label_template": _label(order),
        # Not unlockWhenFinished: a run that waits for its approval would hold up every later promotion. GoCD
        # never runs one stage of a pipeline twice at a time.
        "lock_behavior": "none",
        "environment_variables": {
            "MLFLOW_TRACKING_URI": order.tracking_uri,
            RUN_VARIABLE: "",
            REQUEST_VARIABLE: "",
            **{secret.variable: str(secret) for secret in order.secrets},
        },
        "materials": _materials(order),
        "stages": [{stage.name: _stage(order, stage)} for make in STAGES if (stage := make(order))],
    }


def _label(order: PipelineOrder) -> str:
    request = f"${{env:{RUN_VARIABLE}}}-${{env:{REQUEST_VARIABLE}}}"
    return (
        f"${{COUNT}}-${{{order.model}}}-${{env:{REQUEST_VARIABLE}}}"
        if order.package
        else f"${{COUNT}}-{request}"
    )


def _materials(order: PipelineOrder) -> dict[str, object]:
    # The key names the material, and so the variables that --from-gocd reads.
    if order.package:
        return {order.model: {"package": order.package}}
    return {"source": {"git": order.git, "branch": order.branch, "shallow_clone": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage with one job of the same name, which leaves one document and the page that shows it.

    `reads` are the documents of earlier stages, as (stage, file name); they are fetched into the folder in
    which GoCD keeps them. `asked` is the approval, None for a stage that follows by itself. `tests` is a file
    of JUnit XML for the tab of tests.
    """

    name: str
    tab: str
    command: tuple[str, ...]
    document: str
    reads: tuple[tuple[str, str], ...] = ()
    asked: Mapping[str, object] | None = None
    tests: str = ""


def _containerize(order: PipelineOrder) -> Stage:
    material = ("--gocd-material", order.model) if order.package else ()
    return Stage(
        name="containerize",
        tab="Image",
        command=(
            *("containerize", "--from-gocd", *material, "--base", order.base),
            *("--repository", order.repository, "--report", _IMAGE),
        ),
        document=_IMAGE,
        # Without a package, a commit alone must start nothing: the first stage waits, the trigger forces it.
        asked=None if order.package else {"type": "manual"},
    )


def _evaluate(order: PipelineOrder) -> Stage | None:
    if not order.test_data:
        return None
    wanted = [part for name in order.targets for part in ("--target", name)]
    wanted += [part for gate in order.gates for part in ("--gate", gate)]
    return Stage(
        name="evaluate",
        tab="Evaluation",
        command=(
            *("evaluate", f"{_FOLDER}/{_IMAGE}", "--from-gocd", "--data", order.test_data, *wanted),
            *("--repository", order.repository, "--report", _EVALUATION, "--html", "evaluation.html"),
            *("--junit", "evaluation.xml", "--record", "--attach"),
        ),
        document=_EVALUATION,
        reads=(("containerize", _IMAGE),),
        tests="evaluation.xml",
    )


def _deploy(order: PipelineOrder) -> Stage:
    port = ("--port", str(order.port)) if order.port else ()
    return Stage(
        name="deploy",
        tab="Service",
        command=(
            *("deploy", f"{_FOLDER}/{_IMAGE}", "--name", order.model, *port),
            *("--from-gocd", "--report", _DEPLOYMENT),
        ),
        document=_DEPLOYMENT,
        reads=(("containerize", _IMAGE),),
        asked={"type": "manual", "allow_only_on_success": True},
    )


def _ami(order: PipelineOrder) -> Stage | None:
    if not order.ami:
        return None
    return Stage(
        name="ami",
        tab="AMI",
        command=(
            *("ami", "bake", f"{_FOLDER}/{_IMAGE}", "--from-gocd", "--report", _AMI),
            *(f"--{name}={value}" for name, value in order.ami),
        ),
        document=_AMI,
        reads=(("containerize", _IMAGE),),
    )


STAGES: tuple[Callable[[PipelineOrder], Stage | None], ...] = (_containerize, _evaluate, _deploy, _ami)
"""Every stage in order, None for one that the order does not want; another command's is one more function."""


def _stage(order: PipelineOrder, stage: Stage) -> dict[str, object]:
    page = f"{stage.document.removesuffix('.json')}.html"
    shown = (
        "gocd",
        "page",
        stage.document,
        "--output",
        page,
        *(("--keep",) if page in stage.command else ()),
    )
    job = {
        "timeout": _SILENCE_MINUTES,
        **_resources(order),
        "artifacts": [
            *({"build": {"source": each, "destination": _FOLDER}} for each in (stage.document, page)),
            *({"test": {"source": each, "destination": _FOLDER}} for each in (stage.tests,) if each),
        ],
        "tabs": {stage.tab: f"{_FOLDER}/{page}"},
        "tasks": [
            *(_fetch(*each) for each in stage.reads),
            _task(stage.command),
            # GoCD publishes what a failed job left, so the page is wanted then most of all.
            {"exec": {"command": "runbake", "arguments": list(shown), "run_if": "any"}},
        ],
    }
    approval = {"approval": dict(stage.asked)} if stage.asked else {}
    return {
        "fetch_materials": False,
        "clean_workspace": True,
        "keep_artifacts": True,
        **approval,
        "jobs": {stage.name: job},
    }


def _fetch(stage: str, document: str) -> dict[str, object]:
    source = f"{_FOLDER}/{document}"
    return {
        "fetch": {"stage": stage, "job": stage, "source": source, "is_file": True, "destination": _FOLDER}
    }


def _resources(order: PipelineOrder) -> dict[str, object]:
    return {"resources": list(order.resources)} if order.resources else {}


def _task(arguments: Sequence[str]) -> dict[str, object]:
    return {
        "exec": {
            "command": "sh",
            "arguments": ["-c", _START, "sh", "runbake", *arguments],
            "on_cancel": {"exec": {"command": "sh", "arguments": ["-c", _CANCEL]}},
        }
    }
