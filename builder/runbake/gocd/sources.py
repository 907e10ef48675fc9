"""Where a watcher's promotions come from: tags of runs, or an alias of the registry, through `tracking`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runbake.errors import (
    AmbiguousModel,
    ConfigError,
    ModelNotReady,
    NoModel,
    RunNotFinished,
    RunNotFound,
)
from runbake.gocd.note import note_key
from runbake.gocd.server import named
from runbake.gocd.watcher import Wanted
from runbake.tracking import NotedPromotion, RunRef, Tracking

_OF_ONE_VERSION = (AmbiguousModel, ModelNotReady, NoModel, RunNotFinished, RunNotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Which pipeline an experiment or model starts; `others` is for those not listed, "" for none."""

    listed: tuple[tuple[str, str], ...]
    others: str

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Routes:
        """The routes of `NAME=PIPELINE` and at most one `PIPELINE`; the last `=` divides.

        Raises:
            ConfigError: a name stands twice, or a pipeline cannot be called so.
        """
        pairs = [text.rpartition("=") for text in texts]
        others = [pipeline for _, equals, pipeline in pairs if not equals]
        listed = [(name, pipeline) for name, equals, pipeline in pairs if equals]
        if len(others) > 1 or len(dict(listed)) < len(listed) or not pairs:
            raise ConfigError(
                f"--pipeline wants NAME=PIPELINE once for each name, and PIPELINE once: {', '.join(texts)}"
            )
        return cls(
            listed=tuple((name, named(pipeline)) for name, pipeline in listed),
            others=named(others[0]) if others else "",
        )

    def of(self, name: str) -> str:
        """The pipeline of an experiment or model; "" for none."""
        return dict(self.listed).get(name, self.others)

    def notes(self) -> Mapping[str, str]:
        """The tag that is kept on runs, for each listed name."""
        return {name: note_key(pipeline) for name, pipeline in self.listed}


class TaggedRuns:
    """Promotions by tag: two requests to MLflow for each poll, while at most 1000 runs are promoted.

    Args:
        since_ms: what was promoted before is left alone.
    """

    def __init__(self, tracking: Tracking, routes: Routes, *, since_ms: int = 0) -> None:
        self._tracking, self._routes, self._since_ms = tracking, routes, since_ms

    def read(self) -> tuple[Wanted, ...]:
        """See `Promotions`."""
        others = note_key(self._routes.others) if self._routes.others else ""
        found = self._tracking.noted_promotions(self._routes.notes(), others=others)
        return tuple(
            wanted_of(promotion, self._routes.of(promotion.of))
            for promotion in found
            if promotion.at_ms >= self._since_ms
        )

    def note(self, run_id: str, key: str) -> str:
        """See `Promotions`."""
        return self._tracking.read_note(run_id, key)

    def keep(self, run_id: str, key: str, text: str) -> None:
        """See `Promotions`."""
        self._tracking.record_image(run_id, {key: text})


class AliasedVersions(TaggedRuns):
    """Promotions by alias: one request to MLflow for each poll, and two more for each alias that moved.

    Args:
        tell: gets one line for each version that starts nothing yet.
    """

    def __init__(
        self,
        tracking: Tracking,
        routes: Routes,
        *,
        alias: str,
        tell: Callable[[str], None],
        since_ms: int = 0,
    ) -> None:
        super().__init__(tracking, routes, since_ms=since_ms)
        self._alias, self._tell = alias, tell
        self._known: dict[str, tuple[str, Wanted]] = {}
        self._told: dict[str, str] = {}

    def read(self) -> tuple[Wanted, ...]:
        """See `Promotions`; a version that cannot be built holds up no other, and is asked about again."""
        found = []
        for name, version in self._tracking.aliased(self._alias):
            if self._routes.of(name):
                wanted = self._wanted(name, version)
                if wanted is not None and wanted.at_ms >= self._since_ms:
                    found.append(wanted)
        return tuple(found)

    def note(self, run_id: str, key: str) -> str:
        """See `Promotions`; whoever asks is at work on the run, so the next poll reads it anew."""
        for name, (_, wanted) in tuple(self._known.items()):
            if wanted.run_id == run_id:
                del self._known[name]
        return super().note(run_id, key)

    def _wanted(self, name: str, version: str) -> Wanted | None:
        known = self._known.get(name)
        if known is None or known[0] != version:
            try:
                known = version, self._read(name, version)
            except _OF_ONE_VERSION as error:
                # Not for good: a run goes on to its end, and the alias stays where it is.
                self._tell_once(name, f"models:/{name}/{version} starts nothing yet: {error}")
                return None
            self._known[name] = known
        return known[1]

    def _read(self, name: str, version: str) -> Wanted:
        pipeline, alias = self._routes.of(name), self._alias
        promotion = self._tracking.noted_version(name, version, alias=alias, note=note_key(pipeline))
        return wanted_of(promotion, pipeline)

    def _tell_once(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            self._tell(text)


def wanted_run(tracking: Tracking, ref: RunRef, pipeline: str) -> Wanted:
    """Any finished run, for `Watcher.trigger`."""
    return wanted_of(tracking.noted_run(ref, note_key(pipeline)), pipeline)


def wanted_of(promotion: NotedPromotion, pipeline: str) -> Wanted:
    """A promotion and its pipeline."""
    return Wanted(
        pipeline=pipeline,
        run_id=promotion.run_id,
        of=promotion.of,
        at_ms=promotion.at_ms,
        mark=promotion.mark,
        note=promotion.note,
    )
