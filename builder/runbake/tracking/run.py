"""What tracking hands on: a promoted run, read once, frozen all the way down."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The last value of a metric logged no later than the run's end."""

    name: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInput:
    """A dataset that the run logged as input.

    `digest` is MLflow's: 8 hex digits of an MD5 over at most 10,000 rows, so a name and not a proof.
    `source`, `schema` and `profile` are MLflow's JSON texts, "" where absent, URLs in `source` without
    credentials; `context` is e.g. "training", "" where the run gave none.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How and when the run was promoted; never part of a digest.

    `how` is "tag", "alias" (RUN named one), "version" (RUN named a version that has aliases now) or
    "unpromoted"; `detail` is the tag or the aliases. `at_ms` is UTC, None where MLflow keeps no time.
    `ordered_by` says which time `--experiment` compared: "promoted_at" or "end_time", "" where RUN was named.
    """

    how: str
    detail: str
    at_ms: int | None
    ordered_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedSummary:
    """One line of `runbake promoted`: a run that carries the promotion tag.

    `status` is MLflow's (only "FINISHED" can be built); `promoted_at_ms` is None where somebody set the tag
    by hand; `end_time_ms` is 0 while the run is going.
    """

    run_id: str
    run_name: str
    experiment_id: str
    experiment_name: str
    user: str
    status: str
    promoted_at_ms: int | None
    end_time_ms: int

    def to_json(self) -> dict[str, object]:
        """The fields under their own names."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedPromotion:
    """A promotion as those see it who watch for new ones, with one tag that they keep on the run.

    `of` is the experiment's or registered model's name. `at_ms` is when it was promoted, else the run's end.
    `mark` tells it from other promotions of the same run: its moment, "" where the tag was set by hand,
    `NAME@ALIAS/VERSION` of an alias. `note` is the tag's value, "" without one.
    """

    run_id: str
    of: str
    at_ms: int
    mark: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedFacts:
    """A promoted, finished run in a few words; `tags` is the promotion tag, and `at_ms` when it was promoted,
    else the run's end."""

    run_id: str
    artifact_uri: str
    user: str
    start_time_ms: int
    at_ms: int
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file of the model: POSIX path relative to the model directory."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run says of itself. Times are UTC milliseconds since 1970, 0 where there is none yet."""

    run_id: str
    run_name: str
    experiment_id: str
    experiment_name: str
    user: str
    start_time_ms: int
    end_time_ms: int
    params: tuple[tuple[str, str], ...]  # sorted by key
    metrics: tuple[Metric, ...]  # sorted by name
    source_tags: tuple[tuple[str, str], ...]  # allow-listed mlflow.source.*, sorted; URLs without credentials
    datasets: tuple[DatasetInput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(RunFacts):
    """A run as MLflow has it now, whatever its state: what it is, and what came from it.

    `status` is MLflow's. `promotion` is the tag that promotes it, "" where it has none; `promoted_at_ms` is
    None where no time is kept. `models` are names and ids of the models that it logged, `versions` the
    registered ones with their aliases, `stops` what runbake wrote on the run (`runbake.image`, …), sorted.
    """

    status: str
    promotion: str
    promoted_at_ms: int | None
    models: tuple[tuple[str, str], ...]
    versions: tuple[RegisteredVersion, ...]
    stops: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version in the model registry, and the aliases that point to it now."""

    name: str
    version: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedRun(RunFacts):
    """A model that somebody promoted, with the run it came from.

    Read once; nothing downstream asks MLflow again.
    """

    asked: str
    model_id: str  # m-<32 hex>, "" for models logged by MLflow 2
    model_name: str  # the name or artifact path it was logged under
    registered_name: str  # only if RUN named it, else ""
    registered_version: str  # only if RUN named it, else ""
    model_uri: str  # where `fetch_model` reads
    files: tuple[ModelFile, ...]  # sorted by path; without registered_model_meta
    promotion: Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What `promote` or `demote` did to one tag of a run; None is "not there"."""

    tag: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A model file on disk, with its digest (64 hex digits)."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One entry under `flavors` in MLmodel, as canonical JSON text."""

    name: str
    config_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What a model says of itself, in its small files.

    `python_version` is the full version from python_env.yaml ("3.11.7"); `requirements` are the non-comment
    lines of requirements.txt in order, without options, `constraints` those of constraints.txt;
    `signature_json` (`{"inputs": …, "outputs": …, "params": …}`) is canonical JSON text or "".
    """

    flavors: tuple[Flavor, ...]  # sorted by name
    mlflow_version: str
    python_version: str
    requirements: tuple[str, ...]
    signature_json: str
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel(ModelDescription):
    """A model's files on disk, complete and unchanged since they were listed, and what they say."""

    root: Path
    files: tuple[FetchedFile, ...]  # sorted by path
