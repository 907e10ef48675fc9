"""What those read who watch for promotions, in as few requests as possible."""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from runbake.errors import RunNotFinished, RunNotFound
from runbake.tracking import _facts, _promotion
from runbake.tracking._door import Door
from runbake.tracking._finder import Finder
from runbake.tracking.reference import RunRef
from runbake.tracking.run import NotedPromotion, PromotedFacts

if TYPE_CHECKING:
    from mlflow.entities import Run


class Watching:
    """The part of `Tracking` that many polls call; `tag` means promoted."""

    def __init__(self, door: Door, tag: tuple[str, str]) -> None:
        self._door, self._tag = door, tag
        self._finder = Finder(door, tag)

    def noted_promotions(self, notes: Mapping[str, str], *, others: str = "") -> tuple[NotedPromotion, ...]:
        """Every finished run with the promotion tag, the oldest promotion first: two requests for 1000 runs.

        Args:
            notes: the experiments to look into, by name, and the tag that is kept on runs of each.
            others: the tag for every other experiment; "" leaves those out.

        Raises:
            RunNotFound: there is no such experiment.
        """
        names = {e.experiment_id: str(e.name) for e in self._finder.experiments()}
        if unknown := sorted(notes.keys() - set(names.values())):
            raise RunNotFound(
                f"{self._door.address} has no experiment named {', '.join(map(repr, unknown))}",
                hint="list them with: mlflow experiments search",
            )
        kept = {id_: note for id_, name in names.items() if (note := notes.get(name, others))}
        finished = f"{_promotion.filter_of(self._tag)} AND attributes.status = 'FINISHED'"
        found = [
            _facts.noted(run, names[run.info.experiment_id], kept[run.info.experiment_id])
            for run in self._finder.search(tuple(kept), finished)
        ]
        return tuple(sorted(found, key=lambda promotion: (promotion.at_ms, promotion.run_id)))

    def experiments(self) -> tuple[tuple[str, str], ...]:
        """Ids and names of the experiments that were not deleted: one request for 1000."""
        return tuple((str(e.experiment_id), str(e.name)) for e in self._finder.experiments())

    def promoted_in(self, experiment_id: str) -> tuple[PromotedFacts, ...]:
        """The promoted, finished runs of one experiment: one request for 1000."""
        finished = f"{_promotion.filter_of(self._tag)} AND attributes.status = 'FINISHED'"
        runs = self._finder.search((experiment_id,), finished)
        return tuple(_facts.promoted_facts(run, self._tag) for run in runs)

    def aliased(self, alias: str) -> tuple[tuple[str, str], ...]:
        """The registered models that have this alias and the version each points to: one request for 1000."""
        found: list[tuple[str, str]] = []
        token: str | None = None
        with self._door.translated("registered models"):
            while True:
                page = self._door.client().search_registered_models(max_results=1000, page_token=token)
                found += [(m.name, str(m.aliases[alias])) for m in page if alias in m.aliases]
                token = page.token
                if not token:
                    return tuple(sorted(found))

    def noted_version(self, name: str, version: str, *, alias: str, note: str) -> NotedPromotion:
        """The promotion that the alias of this version is.

        Raises:
            RunNotFound: the version or its run is gone.
        """
        found = self._finder.found(RunRef.parse(f"models:/{name}/{version}"))
        return replace(_facts.noted(finished(found.run), name, note), mark=f"{name}@{alias}/{version}")

    def noted_run(self, ref: RunRef, note: str) -> NotedPromotion:
        """Any finished run as if it were promoted, as a rollback names it.

        Raises:
            RunNotFound, RunNotFinished: it is not there, or not done.
        """
        run = finished(self._finder.found(ref).run)
        return _facts.noted(run, self._finder.experiment(run.info.experiment_id).name, note)

    def read_note(self, run_id: str, key: str) -> str:
        """One tag of the run, "" without it.

        Raises:
            RunNotFound: MLflow does not know the run.
        """
        return str(self._finder.run(run_id).data.tags.get(key, ""))


def finished(run: Run) -> Run:
    """The run, if it is finished.

    Raises:
        RunNotFinished: it goes on, failed or was killed.
    """
    if run.info.status != "FINISHED" or run.info.end_time is None:
        raise RunNotFinished(
            f"run {run.info.run_id} has the status {run.info.status}, not FINISHED",
            hint="wait for it to end" if run.info.status == "RUNNING" else "only finished runs are built",
        )
    return run
