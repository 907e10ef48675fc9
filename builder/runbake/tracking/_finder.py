"""From a reference to a run: whatever MLflow has to be asked on the way."""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbake.errors import NotPromoted, RunNotFound
from runbake.tracking import _promotion
from runbake.tracking._door import Door
from runbake.tracking._models import Candidate, logged_model, model_of_version
from runbake.tracking.reference import ByExperiment, RunRef

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.entities.model_registry import ModelVersion

_PAGE = 1000
_EXPERIMENTS_PER_SEARCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What RUN led to, before anybody asked whether it may be built."""

    run: Run
    model: Candidate | None  # None: RUN named the run only
    version: ModelVersion | None


class Finder:
    """Finds runs and experiments on one server; `tag` means promoted."""

    def __init__(self, door: Door, tag: tuple[str, str]) -> None:
        self._door, self._tag = door, tag

    def found(self, ref: RunRef | ByExperiment) -> Found:
        """What a reference leads to."""
        if isinstance(ref, ByExperiment):
            return Found(run=self._latest_promoted(ref.name), model=None, version=None)
        if ref.kind == "run":
            return Found(run=self.run(ref.run_id), model=None, version=None)
        if ref.kind == "model":
            model, run_id = logged_model(self._door, ref.model_id)
            if not run_id:
                raise RunNotFound(f"{ref} was logged outside a run", hint="log the model inside a run")
            return Found(run=self.run(run_id, of=str(ref)), model=model, version=None)
        version = self._version(ref)
        model, run_id = model_of_version(self._door, version)
        return Found(run=self.run(run_id, of=str(ref)), model=model, version=version)

    def run(self, run_id: str, *, of: str = "") -> Run:
        """The run of this id; `of` is what led to it, for messages."""
        named = f"run {run_id}" + (f" (of {of})" if of else "")
        with self._door.translated(named):
            run = self._door.client().get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise RunNotFound(
                f"{named} was deleted", hint=f"restore it with: mlflow runs restore --run-id {run_id}"
            )
        return run

    def _version(self, ref: RunRef) -> ModelVersion:
        with self._door.translated(f"registered model {ref}"):
            client = self._door.client()
            if ref.kind == "alias":
                return client.get_model_version_by_alias(ref.name, ref.alias)
            return client.get_model_version(ref.name, ref.version)

    def _latest_promoted(self, name: str) -> Run:
        experiment = self.experiment_named(name)
        finished = f"{_promotion.filter_of(self._tag)} AND attributes.status = 'FINISHED'"
        runs = self.search((experiment.experiment_id,), finished)
        if not runs:
            raise NotPromoted(
                f"no finished run of experiment {name!r} has the tag {self._tag[0]}={self._tag[1]}",
                hint=f"promote one with: {_promotion.promoting('RUN', self._tag)}",
            )
        # The run id decides between equal times, so that everybody gets the same answer.
        return max(
            runs,
            key=lambda run: (
                _promotion.order_of(run.data.tags, int(run.info.end_time or 0))[0],
                run.info.run_id,
            ),
        )

    def experiment_named(self, name: str) -> Experiment:
        """The experiment of this name."""
        with self._door.translated(f"experiment {name!r}"):
            experiment = self._door.client().get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            gone = "no experiment named" if experiment is None else "a deleted experiment named"
            raise RunNotFound(
                f"{self._door.address} has {gone} {name!r}", hint="list them with: mlflow experiments search"
            )
        return experiment

    def experiment(self, experiment_id: str) -> Experiment:
        """The experiment of this id."""
        with self._door.translated(f"experiment {experiment_id}"):
            return self._door.client().get_experiment(experiment_id)

    def experiments(self) -> list[Experiment]:
        """Every experiment that was not deleted."""
        found: list[Experiment] = []
        token: str | None = None
        with self._door.translated("experiments"):
            while True:
                page = self._door.client().search_experiments(max_results=_PAGE, page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    return found

    def search(self, experiment_ids: Sequence[str], text: str) -> list[Run]:
        """The runs of these experiments that a filter in MLflow's words finds."""
        found: list[Run] = []
        with self._door.translated(f"runs where {text}"):
            for start in range(0, len(experiment_ids), _EXPERIMENTS_PER_SEARCH):
                some, token = list(experiment_ids[start : start + _EXPERIMENTS_PER_SEARCH]), None
                while True:
                    page = self._door.client().search_runs(
                        some, filter_string=text, max_results=_PAGE, page_token=token
                    )
                    found.extend(page)
                    token = page.token
                    if not token:
                        break
        return found
