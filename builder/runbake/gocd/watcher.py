"""From promotions to pipeline runs: at least one for each, in order, whoever is killed meanwhile.

For each promotion:

    1. look       is its request id in a label of the pipeline's history? Then it is done
    2. claim      write on the run who asks, wait, read it again: of two watchers the later writer goes on
    3. schedule   409 means later; no answer means perhaps, so look again for a while
    4. remember   write the pipeline run's counter on the run

Claims are compared by what they say and never by time, and every waiting is by the watcher's own clock, so
that clocks may differ. A watcher that was killed left its claim: the next one waits as long as a run may take
to appear, and only then asks again. What GoCD forgets (its queue is in memory) is asked for again likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from runbake.errors import GocdError, GocdUnreachable, NotTriggered, PipelineBusy, TrackingError
from runbake.gocd.invocation import REQUEST_VARIABLE, RUN_VARIABLE
from runbake.gocd.note import Asked, Note, note_key, request_of
from runbake.gocd.server import PipelineRun

MOST_ATTEMPTS = 5
"""After so many requests without a label that names them, while runs do appear, the label is at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A promotion and the pipeline that it starts.

    `of` is the experiment or model, `at_ms` orders, `mark` tells promotions of one run apart, `note` is what
    the run's tag said when it was read.
    """

    pipeline: str
    run_id: str
    of: str
    at_ms: int
    mark: str
    note: str

    @property
    def request(self) -> str:
        """The promotion's request id."""
        return request_of(self.pipeline, self.run_id, self.mark)


class Promotions(Protocol):
    """MLflow, as a watcher needs it."""

    def read(self) -> tuple[Wanted, ...]:
        """Every promotion that there is, with its note."""

    def note(self, run_id: str, key: str) -> str:
        """What the run's tag says now, "" without one."""

    def keep(self, run_id: str, key: str, text: str) -> None:
        """Write the run's tag."""


class Server(Protocol):
    """GoCD, as a watcher needs it; see `GocdServer`."""

    def schedule(self, pipeline: str, variables: dict[str, str]) -> None:
        """Ask for a run."""

    def find(self, pipeline: str, request: str, *, after: int = 0) -> PipelineRun | None:
        """The run whose label names the request."""

    def newest(self, pipeline: str) -> int:
        """The latest counter."""


class Clock(Protocol):
    """Seconds of one's own, from anywhere, never backwards."""

    def now_s(self) -> float:
        """The time."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a watcher waits, in seconds.

    `poll_s` between questions to MLflow; `retry_s` between steps of a promotion under way; `settle_s` between
    a claim and its second reading; `grace_s` until a scheduled run that did not appear counts as lost.
    """

    poll_s: float = 60.0
    retry_s: float = 5.0
    settle_s: float = 2.0
    grace_s: float = 180.0


class Watcher:
    """Triggers pipelines for promotions; several may run at once.

    Args:
        me: what tells this watcher from every other one.
        tell: gets one line for people whenever something is worth it.
        found: gets every pipeline run that was found, once.
    """

    def __init__(
        self,
        promotions: Promotions,
        server: Server,
        *,
        clock: Clock,
        pace: Pace,
        me: str,
        tell: Callable[[str], None],
        found: Callable[[PipelineRun], None],
    ) -> None:
        self._promotions, self._server, self._clock, self._pace = promotions, server, clock, pace
        self._me, self._tell, self._found = me, tell, found
        self._claims_seen: dict[str, tuple[Asked, float]] = {}
        self._refused: dict[str, Asked] = {}

    def watch(self, *, going: Callable[[], bool] = lambda: True) -> None:
        """Poll and trigger until `going` says no; outages of MLflow and GoCD are told and waited for."""
        while going():
            try:
                waiting = pending(self._promotions.read())
            except TrackingError as error:
                self._tell(f"MLflow: {error}")
                waiting = ()
            until = self._clock.now_s() + self._pace.poll_s
            while going() and (waiting := self._pass(waiting, tolerant=True)):
                if self._clock.now_s() + self._pace.retry_s >= until:
                    break
                self._clock.sleep(self._pace.retry_s)
            self._clock.sleep(max(0.0, until - self._clock.now_s()))

    def once(self, *, wait_s: float) -> None:
        """Trigger everything that is promoted and was not triggered, for `wait_s` seconds at most.

        Raises:
            NotTriggered: something is left; it is listed.
        """
        self._until_done(pending(self._promotions.read()), wait_s)

    def trigger(self, wanted: Wanted, *, wait_s: float) -> None:
        """Trigger this run now: its promotion if that was not triggered yet, else once more.

        Raises:
            NotTriggered: no pipeline run was found within `wait_s` seconds.
        """
        self._until_done((again(wanted),), wait_s)

    def _until_done(self, waiting: tuple[Wanted, ...], wait_s: float) -> None:
        until = self._clock.now_s() + wait_s
        while waiting := self._pass(waiting, tolerant=False):
            if self._clock.now_s() >= until:
                raise NotTriggered(
                    f"not triggered within {wait_s:g} s: {', '.join(sorted(w.run_id for w in waiting))}",
                    hint="run it again: it goes on where it stopped; GoCD says whether the pipeline is busy",
                )
            self._clock.sleep(self._pace.retry_s)

    def _pass(self, waiting: tuple[Wanted, ...], *, tolerant: bool) -> tuple[Wanted, ...]:
        """One step for the first of each pipeline, and for the next as long as steps end; what is left."""
        left: list[Wanted] = []
        for pipeline in dict.fromkeys(wanted.pipeline for wanted in waiting):
            queue = [wanted for wanted in waiting if wanted.pipeline == pipeline]
            try:
                while queue and self._step(queue[0]):
                    queue.pop(0)
            except (PipelineBusy, GocdUnreachable) as error:
                self._tell(f"{pipeline}: {error}")
            except (GocdError, TrackingError) as error:
                if not tolerant:
                    raise
                self._tell(f"{pipeline}: {error}")
            left.extend(queue)
        return tuple(left)

    def _step(self, wanted: Wanted) -> bool:
        """Bring one promotion on; True when its pipeline run is known."""
        note = self._note(wanted)
        if note.counter_of(wanted.request):
            return True
        asked = note.asks(wanted.request)
        run = self._server.find(wanted.pipeline, wanted.request, after=asked.after if asked else 0)
        if run is not None:
            self._remember(wanted, note, run)
            return True
        if asked is None or asked == self._refused.get(wanted.request) or self._overdue(asked):
            return self._ask(wanted, note, asked)
        return False

    def _overdue(self, asked: Asked) -> bool:
        seen, since = self._claims_seen.get(asked.request, (None, 0.0))
        if seen != asked:
            self._claims_seen[asked.request] = (asked, self._clock.now_s())
            return False
        return self._clock.now_s() - since >= self._pace.grace_s

    def _ask(self, wanted: Wanted, note: Note, before: Asked | None) -> bool:
        claim = before
        if before is None or before != self._refused.get(wanted.request):
            claim = self._claim(wanted, note, before)
            if claim is None:
                return False
            run = self._server.find(wanted.pipeline, wanted.request, after=claim.after)
            if run is not None:
                self._remember(wanted, self._note(wanted), run)
                return True
        self._schedule(wanted, claim)
        return False

    def _claim(self, wanted: Wanted, note: Note, before: Asked | None) -> Asked | None:
        """Our claim, or None where another watcher made a later one."""
        newest = self._server.newest(wanted.pipeline)
        after, attempt = (before.after, before.attempt + 1) if before else (newest, 1)
        if attempt > MOST_ATTEMPTS and newest > after:
            raise NotTriggered(
                f"{wanted.pipeline} was asked {MOST_ATTEMPTS} times for run {wanted.run_id}, and no label of "
                f"its runs names the request {wanted.request}",
                hint=f"its label_template must hold ${{env:{REQUEST_VARIABLE}}}",
            )
        claim = Asked(request=wanted.request, mark=wanted.mark, by=self._me, attempt=attempt, after=after)
        # Read again just before writing; settling covers the moment between.
        if self._note(wanted) != note:
            return None
        self._keep(wanted, replace(note, asked=claim))
        self._clock.sleep(self._pace.settle_s)
        return claim if self._note(wanted).asked == claim else None

    def _schedule(self, wanted: Wanted, claim: Asked | None) -> None:
        self._refused.pop(wanted.request, None)
        try:
            self._server.schedule(
                wanted.pipeline, {RUN_VARIABLE: wanted.run_id, REQUEST_VARIABLE: wanted.request}
            )
        except GocdUnreachable:
            raise  # perhaps it was accepted: the claim stands, and the history is looked through
        except GocdError:
            # Certainly refused: the same claim may try again at once.
            if claim is not None:
                self._refused[wanted.request] = claim
            raise
        self._tell(f"{wanted.pipeline}: scheduled for run {wanted.run_id} of {wanted.of}")

    def _remember(self, wanted: Wanted, note: Note, run: PipelineRun) -> None:
        self._keep(wanted, note.with_done(wanted.request, run.counter))
        self._claims_seen.pop(wanted.request, None)
        self._refused.pop(wanted.request, None)
        self._found(run)

    def _note(self, wanted: Wanted) -> Note:
        return Note.parse(self._promotions.note(wanted.run_id, note_key(wanted.pipeline)))

    def _keep(self, wanted: Wanted, note: Note) -> None:
        self._promotions.keep(wanted.run_id, note_key(wanted.pipeline), str(note))


def pending(promotions: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
    """The promotions that no pipeline run is remembered for, the oldest first."""
    left = [wanted for wanted in promotions if not Note.parse(wanted.note).counter_of(wanted.request)]
    return tuple(sorted(left, key=lambda wanted: (wanted.at_ms, wanted.run_id)))


def again(wanted: Wanted) -> Wanted:
    """The same run as a request of its own where its promotion was triggered: a rollback, or a second try.

    The request counts from the last pipeline run, so that the same command after a kill goes on with it.
    """
    note = Note.parse(wanted.note)
    if not note.counter_of(wanted.request):
        return wanted
    if note.asked is not None and note.asked.mark.startswith("run:"):
        return replace(wanted, mark=note.asked.mark)
    return replace(wanted, mark=f"run:{max(counter for _, counter in note.done)}")
