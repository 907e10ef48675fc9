"""The door to MLflow: resolve a promoted run, fetch its model, keep notes on it."""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runbake.errors import (
    ArtifactMissing,
    InvalidReference,
    TrackingError,
)
from runbake.tracking import _facts, _promotion
from runbake.tracking._artifacts import files_in, store_at
from runbake.tracking._door import Door, without_userinfo
from runbake.tracking._fetch import Arrived, Progress, describe, fetch
from runbake.tracking._mlmodel import MLMODEL
from runbake.tracking._models import logged_by, model_of_run, ready, versions_of
from runbake.tracking._watching import Watching, finished
from runbake.tracking.reference import ByExperiment, RunRef
from runbake.tracking.run import (
    Change,
    FetchedModel,
    ModelDescription,
    ModelFile,
    PromotedRun,
    PromotedSummary,
    RunFacts,
    RunRecord,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

_LOCK_KEY = re.compile(r"[0-9A-Za-z._-]{1,128}")
_TAG_KEY = re.compile(r"[\w./ -]{1,250}")
_LONGEST_TAG = 5000  # characters; MLflow 2's limit, MLflow 3 takes 8000
_MOST_TAGS = 100  # in one request


class Tracking(Watching):
    """An MLflow tracking server, over HTTP, with MLflow's own authentication settings.

    Nothing is imported or asked before the first call. Credentials in the URI work and are never shown.

    Args:
        tracking_uri: as MLFLOW_TRACKING_URI.
        promote_tag: name and value of the run tag that means "promoted".
        timeout_s: how long the first contact may take altogether, about; later requests obey
            MLFLOW_HTTP_REQUEST_TIMEOUT and MLFLOW_HTTP_REQUEST_MAX_RETRIES (see `use_mlflow_defaults`).
        local_artifacts: a server over HTTP may name directories of this machine as artifact locations; what
            is in them goes into images.

    Raises (every method, beside its own):
        TrackingError: unreachable, too slow, or broken; the message names the server without credentials.
        TrackingAuthError: the server answered 401 or 403.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        promote_tag: tuple[str, str] = _promotion.USUAL_TAG,
        timeout_s: float = 12.0,
        local_artifacts: bool = False,
    ) -> None:
        super().__init__(
            Door(tracking_uri, timeout_s=timeout_s, local_artifacts=local_artifacts),
            _promotion.checked_tag(promote_tag),
        )

    def __repr__(self) -> str:
        return f"Tracking({self._door.address!r})"

    # --- reading ---------------------------------------------------------------------------------------

    def fetch_promoted_run(
        self, ref: RunRef | ByExperiment, *, model_name: str = "", allow_unpromoted: bool = False
    ) -> PromotedRun:
        """Read everything about a promoted run that later stages need, once.

        Args:
            ref: which run. `ByExperiment` takes the latest promoted one, by the time of its promotion where
                `promote` wrote one, else by its end; `Promotion.ordered_by` says which.
            model_name: which of the run's models, where `ref` names none.
            allow_unpromoted: take a run nobody promoted, and record that.

        Raises:
            RunNotFound, RunNotFinished, NotPromoted: the run is not there, not done, or nobody's choice.
            NoModel, AmbiguousModel, ModelNotReady: no model, several, or an unfinished one.
            ArtifactMissing, UnsafePath: its files are gone, or one of them would leave its directory.
        """
        wanted = _wanted_name(ref, model_name)
        found = self._finder.found(ref)
        run = finished(found.run)
        promotion = _promotion.promotion_of(
            ref if isinstance(ref, RunRef) else None,
            tags=run.data.tags,
            end_time_ms=int(run.info.end_time),
            aliases=tuple(found.version.aliases) if found.version is not None else (),
            tag=self._tag,
            allow_unpromoted=allow_unpromoted,
            run_id=run.info.run_id,
        )
        model = ready(found.model or model_of_run(self._door, run, wanted))
        if wanted not in ("", model.name):
            raise InvalidReference(f"{ref} is the model {model.name!r}, and not {wanted!r}")
        files = self._files_of(model.location, model.name)
        return PromotedRun(
            **_fields(self._facts_of(run)),
            asked=str(ref),
            model_id=model.model_id,
            model_name=model.name,
            registered_name=str(found.version.name) if found.version is not None else "",
            registered_version=str(found.version.version) if found.version is not None else "",
            model_uri=model.location,
            files=files,
            promotion=promotion,
        )

    def describe_model(self, run: PromotedRun) -> ModelDescription:
        """What the run's model says of itself: its small files are read, and nothing is kept.

        Raises:
            NoModel: MLmodel is malformed; the message names the line.
            ArtifactMissing: a listed file cannot be read, or one that MLmodel names is not there.
        """
        self._door.client()
        return describe(self._door, run)

    def fetch_model(
        self,
        run: PromotedRun,
        destination: Path,
        *,
        described: ModelDescription | None = None,
        progress: Progress | None = None,
        arrived: Arrived | None = None,
    ) -> FetchedModel:
        """Download the run's model into `destination`, whole or not at all.

        Bytes are hashed as they arrive and go to a directory of their own beside `destination`, which gets
        its name at the end; so two processes may fetch the same model to the same place. Afterwards the
        files are listed again. A change that keeps every size is not noticed: MLflow gives nothing to see
        it by.

        Args:
            destination: must not exist, or hold exactly this model.
            described: what was planned from; the model must still say that.
            progress: called with bytes done and bytes in all, from several threads, one at a time. What it
                raises ends the download.
            arrived: called with each file's path, where it is written and how much of it is there, from
                several threads; for each file at least once when all of it is there, if it is not empty.

        Raises:
            ArtifactMissing: a listed file cannot be read, or one that MLmodel names is not there.
            ArtifactChanged: files, sizes or the description differ from what `fetch_promoted_run` saw.
            NoModel: MLmodel is malformed; the message names the line.
            DiskFull: no space is left.
        """
        self._door.client()
        return fetch(self._door, run, destination, described=described, progress=progress, arrived=arrived)

    def promoted(self, experiment: str | None = None) -> tuple[PromotedSummary, ...]:
        """Every run with the promotion tag, in one experiment or all, the latest first."""
        experiments = (
            {e.experiment_id: e.name for e in self._finder.experiments()}
            if experiment is None
            else {(e := self._finder.experiment_named(experiment)).experiment_id: e.name}
        )
        summaries = [
            _facts.summary_of(run, str(experiments[run.info.experiment_id]))
            for run in self._finder.search(tuple(experiments), _promotion.filter_of(self._tag))
        ]
        return tuple(sorted(summaries, key=_facts.newest_first))

    def page_of_run(self, run_id: str) -> str:
        """The run's page in MLflow's own interface, without credentials; "" where there is no web server.

        Raises:
            RunNotFound: MLflow does not know the run, or no longer.
        """
        run = self._finder.run(run_id)
        if not self._door.is_http:
            return ""
        base = without_userinfo(self._door.uri)
        return f"{base}/#/experiments/{quote(run.info.experiment_id)}/runs/{quote(run_id)}"

    def stops_of(self, run_id: str) -> tuple[tuple[str, str], ...]:
        """What runbake wrote on the run of what came from it (`runbake.image`, …), sorted.

        Raises:
            RunNotFound: MLflow does not know the run.
        """
        return _promotion.stops_in(self._finder.run(run_id).data.tags)

    def record_of(self, ref: RunRef) -> RunRecord:
        """Everything that MLflow knows of a run, in whatever state it is.

        Raises:
            RunNotFound: MLflow does not know it.
        """
        run = self._finder.found(ref).run
        tags = run.data.tags
        name, value = self._tag
        return RunRecord(
            **_fields(self._facts_of(run)),
            status=str(run.info.status),
            promotion=f"{name}={value}" if tags.get(name) == value else "",
            promoted_at_ms=_promotion.at_ms_of(tags.get(_promotion.PROMOTED_AT, "")),
            models=logged_by(self._door, run),
            versions=versions_of(self._door, str(run.info.run_id)),
            stops=_promotion.stops_in(tags),
        )

    def _facts_of(self, run: Run) -> RunFacts:
        experiment = self._finder.experiment(run.info.experiment_id)
        return _facts.facts_of(self._door, run, str(experiment.name))

    def describe(self) -> str:
        """Where the server is and what it can, for people."""
        self._door.client()
        return f"{self._door.address} answers"

    # --- writing ---------------------------------------------------------------------------------------

    def promote(self, ref: RunRef, *, now_ms: int) -> tuple[str, tuple[Change, ...]]:
        """Tag the run as promoted at this moment; its id, and each tag before and after.

        A second time moves the moment.

        Raises:
            RunNotFinished: only finished runs can be promoted.
            NoModel: the run has no model of the name that RUN gives.
        """
        run = finished(self._named(ref))
        wanted = {self._tag[0]: self._tag[1], _promotion.PROMOTED_AT: _promotion.rfc3339_of(now_ms)}
        run_id = str(run.info.run_id)
        self._set_tags(run_id, wanted)
        return run_id, _promotion.changes(run.data.tags, wanted)

    def demote(self, ref: RunRef) -> tuple[str, tuple[Change, ...]]:
        """Take the promotion tags off the run; its id, and each tag before and after.

        A run without them stays as it is. Aliases of the model registry stay: they are not runbake's.

        Raises:
            NoModel: the run has no model of the name that RUN gives.
        """
        run = self._named(ref)
        run_id = str(run.info.run_id)
        wanted = {self._tag[0]: None, _promotion.PROMOTED_AT: None}
        with self._door.translated(f"run {run_id}"):
            for key in reversed(wanted):
                if key in run.data.tags:
                    self._door.client().delete_tag(run_id, key)
        return run_id, _promotion.changes(run.data.tags, wanted)

    def _named(self, ref: RunRef) -> Run:
        """The run that RUN names; where RUN is `runs:/ID/NAME`, with a model of that name."""
        run = self._finder.found(ref).run
        names = {name for name, _ in logged_by(self._door, run)} if ref.kind == "run" and ref.name else set()
        if ref.kind == "run" and ref.name and ref.name not in names:
            # MLflow 2's tag does not always list it; and where there is none, this says what there is.
            model_of_run(self._door, run, ref.name)
        return run

    def read_lock(self, run_id: str, key: str) -> str | None:
        """The lock stored on the run under this key; None where there is none."""
        path = _kept_path("locks", key)
        with self._door.translated(f"lock {path} of run {run_id}", missing=ArtifactMissing):
            run = self._finder.run(run_id)
            return _facts.small_artifact(self._door, str(run.info.artifact_uri), path)

    def write_lock_once(self, run_id: str, key: str, text: str) -> str:
        """Store the lock on the run unless one is there; the one that is there afterwards.

        MLflow has no conditional write: of two writers within the same second the later wins, and the
        earlier may have read its own. Both were made from the same key.

        Raises:
            TrackingError: the artifact store cannot be written; the caller decides whether that matters.
        """
        stored = self.read_lock(run_id, key)
        return stored if stored is not None else self.replace_lock(run_id, key, text)

    def replace_lock(self, run_id: str, key: str, text: str) -> str:
        """Store the lock on the run, whatever is there; the one that is there afterwards.

        Raises:
            TrackingError: the artifact store cannot be written.
        """
        path = _kept_path("locks", key)
        with self._door.translated(f"lock {path} of run {run_id}", missing=TrackingError):
            store_at(self._door, str(self._finder.run(run_id).info.artifact_uri)).write(path, text.encode())
        stored = self.read_lock(run_id, key)
        if stored is None:
            raise TrackingError(f"the lock {path} was written to run {run_id}, but cannot be read again")
        return stored

    def read_evaluation(self, run_id: str, key: str) -> str | None:
        """The evaluation stored on the run under this key; None where there is none."""
        path = _kept_path("evaluations", key)
        with self._door.translated(f"evaluation {path} of run {run_id}", missing=ArtifactMissing):
            run = self._finder.run(run_id)
            return _facts.small_artifact(self._door, str(run.info.artifact_uri), path)

    def write_evaluation(self, run_id: str, key: str, text: str) -> None:
        """Store an evaluation on the run, in the place of an earlier one under this key.

        Raises:
            TrackingError: the artifact store cannot be written.
        """
        path = _kept_path("evaluations", key)
        with self._door.translated(f"evaluation {path} of run {run_id}", missing=TrackingError):
            store_at(self._door, str(self._finder.run(run_id).info.artifact_uri)).write(path, text.encode())

    def record_image(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags such as `runbake.image` on the run, all in one request.

        Raises:
            TrackingError: a tag breaks MLflow's limits (all of them are listed), or the run is gone.
        """
        wrong = [
            f"{key[:100]!r}: {'name' if not _TAG_KEY.fullmatch(key) else 'value of ' + str(len(value))}"
            for key, value in sorted(tags.items())
            if not _TAG_KEY.fullmatch(key) or len(value) > _LONGEST_TAG
        ]
        if wrong or len(tags) > _MOST_TAGS:
            raise TrackingError(
                f"MLflow cannot store these tags on run {run_id}: {', '.join(wrong) or 'too many'}",
                hint=f"at most {_MOST_TAGS} tags, names of 250 and values of {_LONGEST_TAG} characters",
            )
        self._set_tags(run_id, tags)

    def record_metrics(self, run_id: str, metrics: Mapping[str, float], *, at_ms: int) -> None:
        """Write metrics to the run, all in one request; what is not finite is left out.

        Raises:
            TrackingError: MLflow refuses them, or the run is gone.
        """
        with self._door.translated(f"metrics of run {run_id}"):
            client = self._door.client()
            from mlflow.entities import Metric

            known = [
                Metric(name, value, at_ms, 0)
                for name, value in sorted(metrics.items())
                if math.isfinite(value)
            ]
            client.log_batch(run_id, metrics=known)

    def _files_of(self, location: str, name: str) -> tuple[ModelFile, ...]:
        with self._door.translated(f"files of model {name!r}", missing=ArtifactMissing):
            files = files_in(store_at(self._door, location))
        if not any(file.path == MLMODEL for file in files):
            raise ArtifactMissing(
                f"the model {name!r} has no file {MLMODEL} among its {len(files)} files",
                hint="were its artifacts deleted, or does the server keep them on a disk of its own?",
            )
        return files

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        with self._door.translated(f"run {run_id}"):
            client = self._door.client()
            from mlflow.entities import RunTag

            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in sorted(tags.items())])


def _fields(facts: RunFacts) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in fields(facts)}


def _wanted_name(ref: RunRef | ByExperiment, model_name: str) -> str:
    named = ref.name if isinstance(ref, RunRef) and ref.kind == "run" else ""
    if named and model_name and named != model_name:
        raise InvalidReference(
            f"{ref} names the model {named!r}, and the option names {model_name!r}", hint="give one of them"
        )
    return named or model_name


def _kept_path(kind: str, key: str) -> str:
    if not _LOCK_KEY.fullmatch(key) or key in (".", ".."):
        raise ValueError(f"not a key of {kind}: {key!r}")
    return f"runbake/{kind}/{key}.json"
