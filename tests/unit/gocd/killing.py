"""A world of its own time in which watchers, MLflow and GoCD are killed at random: one thread runs at a time.

Every effect takes a while before it is done and a while after, so that a kill may come between an effect and
its answer. Who goes on, how long things take and who is killed is decided by one seeded generator.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import requests
from requests.adapters import BaseAdapter

from runbake.errors import TrackingError
from runbake.gocd import GocdServer, Pace, PipelineRun, Wanted, Watcher, note_key, pending
from tests.contract.gocd.gocd_double import GocdDouble

PIPELINE = "fraud"


class Killed(BaseException):
    """SIGKILL: nothing of the watcher's own may catch it."""


class Ended(BaseException):
    """The simulation is over."""


@dataclass(eq=False)
class Actor:
    """A thread that runs when it is told to; `wake_s` is when it wants to go on."""

    name: str
    wake_s: float = 0.0
    killed: bool = False
    ended: bool = False
    may_run: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)


class Time:
    """Simulated seconds, shared by all; `sleep` hands over to whoever is next."""

    def __init__(self, random_: random.Random) -> None:
        self.now = 0.0
        self.over = False
        self._random = random_
        self._actors: list[Actor] = []
        self._here = threading.local()

    def start(self, name: str, work: Callable[[], None], *, at_s: float = 0.0) -> Actor:
        """Begin an actor at a moment."""
        actor = Actor(name=name, wake_s=at_s)

        def run() -> None:
            self._here.actor = actor
            try:
                self._await(actor)
                work()
            except (Killed, Ended):
                pass
            finally:
                actor.ended = True
                actor.paused.set()

        self._actors.append(actor)
        threading.Thread(target=run, daemon=True).start()
        return actor

    def sleep(self, seconds: float) -> None:
        """Let others run until so much time has passed for this actor."""
        actor: Actor = self._here.actor
        actor.wake_s = self.now + seconds
        actor.paused.set()
        self._await(actor)

    def take(self) -> None:
        """The time that half an effect takes."""
        self.sleep(self._random.uniform(0.001, 0.4))

    def run(self, until_s: float, done: Callable[[], bool]) -> None:
        """Let the actors go on, the earliest first, until `done` or the end of time."""
        for step in itertools.count():
            if self.now >= until_s or (step % 500 == 0 and done()):
                break
            self._actors = [actor for actor in self._actors if not actor.ended]
            actor = min(self._actors, key=lambda each: (each.wake_s, each.name))
            self.now = max(self.now, actor.wake_s)
            self._go(actor)
        self.over = True
        for actor in self._actors:
            self._go(actor)

    def _go(self, actor: Actor) -> None:
        actor.paused.clear()
        actor.may_run.set()
        assert actor.paused.wait(20), f"{actor.name} neither sleeps nor ends"

    def _await(self, actor: Actor) -> None:
        actor.may_run.wait()
        actor.may_run.clear()
        if self.over:
            raise Ended
        if actor.killed:
            raise Killed


class WatchersClock:
    """A watcher's own clock: it began somewhere else, and nobody's clock agrees with it."""

    def __init__(self, time: Time, offset_s: float) -> None:
        self._time, self._offset_s = time, offset_s

    def now_s(self) -> float:
        return self._time.now + self._offset_s

    def sleep(self, seconds: float) -> None:
        self._time.sleep(seconds)


class FakeMlflow:
    """Runs, promotions and notes; while `down`, nothing answers, and what was written stays."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.down = False
        self.promoted: dict[str, tuple[str, float]] = {}
        self.tags: dict[tuple[str, str], str] = {}

    def promote(self, run_id: str) -> None:
        self.promoted[run_id] = (f"{self._time.now:.3f}", self._time.now)

    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(
            Wanted(
                pipeline=PIPELINE,
                run_id=run_id,
                of="fraud",
                at_ms=round(at_s * 1000),
                mark=mark,
                note=self.tags.get((run_id, note_key(PIPELINE)), ""),
            )
            for run_id, (mark, at_s) in self.promoted.items()
        )

    def read(self) -> tuple[Wanted, ...]:
        self._before()
        found = self.wanted()
        self._after()
        return found

    def note(self, run_id: str, key: str) -> str:
        self._before()
        found = self.tags.get((run_id, key), "")
        self._after()
        return found

    def keep(self, run_id: str, key: str, text: str) -> None:
        self._before()
        self.tags[run_id, key] = text
        self._after()

    def _before(self) -> None:
        self._time.take()
        if self.down:
            raise TrackingError("MLflow is down")

    def _after(self) -> None:
        self._time.take()
        if self.down:
            raise TrackingError("MLflow went down before it answered")


class InWorld(BaseAdapter):
    """The double in place of a network, so that the real client is what is simulated."""

    def __init__(self, gocd: World) -> None:
        super().__init__()
        self._world = gocd

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        world = self._world
        world.time.take()
        if world.gocd_down:
            raise requests.ConnectionError("refused")
        body = request.body or b""
        answered = world.gocd.answer(
            request.method or "",
            request.path_url,
            dict(request.headers),
            body if isinstance(body, bytes) else body.encode(),
        )
        world.time.take()
        if world.gocd_down:
            raise requests.ConnectionError("reset before the answer came")
        response = requests.Response()
        response.status_code, response._content = answered.status, answered.body
        response.url, response.request = request.url or "", request
        return response

    def close(self) -> None:
        """Nothing is open."""


class World:
    """Everything together; `kills` counts what was killed."""

    def __init__(self, seed: int, *, promotions: int, watchers: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a repeatable world, no secret
        self.time = Time(self.random)
        self.mlflow = FakeMlflow(self.time)
        # In this double, a scheduled run appears when time comes, never by being asked for.
        self.gocd = GocdDouble(PIPELINE, appear_after=10**9)
        self.gocd_down = False
        self.kills = self._most = 0
        self.delays: list[float] = []
        self._watchers: list[Actor] = []
        self._promotions = promotions
        for number in range(watchers):
            self._start_watcher(number, at_s=self.random.uniform(0, 60))
        self.time.start("people", self._promote)
        self.time.start("scheduler", self._schedule)

    def start_killing(self, most: int) -> None:
        """From now on, kill something every while, `most` times."""
        self._most = most
        self.time.start("killer", lambda: self._kill(most))

    def run(self, until_s: float = 1e7) -> None:
        """Until every promotion has a run and nothing is left to kill."""
        self.time.run(until_s, self.done)

    def done(self) -> bool:
        """Whether every promotion and every kill has been made, and each run was triggered and remembered."""
        wanted = self.mlflow.wanted()
        return self.kills >= self._most and len(wanted) == self._promotions and not pending(wanted)

    def labels(self) -> list[str]:
        """The labels of every run of the pipeline, in order."""
        return [label for _, label, _ in self.gocd.pipelines[PIPELINE].runs]

    def runs_of(self, wanted: Wanted) -> int:
        """How many pipeline runs a promotion got."""
        return sum(wanted.request in label for label in self.labels())

    def _start_watcher(self, number: int, *, at_s: float) -> None:
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = "bearer right"
        session.mount("http://", InWorld(self))
        watcher = Watcher(
            self.mlflow,
            GocdServer("http://ci.example.org/go", session=session),
            clock=WatchersClock(self.time, self.random.uniform(0, 1e6)),
            pace=Pace(poll_s=60, retry_s=5, settle_s=2, grace_s=180),
            me=f"{self.random.getrandbits(64):016x}",
            tell=lambda text: None,
            found=self._found,
        )
        name = f"watcher {number} {len(self._watchers)}"
        self._watchers.append(self.time.start(name, watcher.watch, at_s=at_s))

    def _found(self, run: PipelineRun) -> None:
        assert run.url.endswith(f"/{PIPELINE}/{run.counter}")

    def _promote(self) -> None:
        for number in range(self._promotions):
            # Often two at once, between two polls.
            self.time.sleep(self.random.choice((1.0, 30.0, self.random.uniform(0, 1200))))
            self.mlflow.promote(f"{number:032x}")

    def _schedule(self) -> None:
        pipeline = self.gocd.pipelines[PIPELINE]
        while True:
            # The first stage runs for a while, in which GoCD answers 409; then its queue is worked off.
            self.time.sleep(self.random.uniform(1, 40))
            before = len(pipeline.runs)
            if not self.gocd_down:
                self.gocd.appear()
            pipeline.starting = len(pipeline.runs) > before
            for run in pipeline.runs[before:]:
                promoted_at = self.mlflow.promoted[run[2]["RUNBAKE_RUN_ID"]][1]
                self.delays.append(self.time.now - promoted_at)

    def _kill(self, most: int) -> None:
        while self.kills < most:
            self.time.sleep(self.random.expovariate(1 / 90))
            self.kills += 1
            self.random.choice((self._kill_watcher, self._kill_mlflow, self._kill_gocd))()

    def _kill_watcher(self) -> None:
        alive = [actor for actor in self._watchers if not actor.ended]
        actor = self.random.choice(alive)
        actor.killed = True
        # The kill takes effect wherever it sleeps: before an effect, after it, or between two polls.
        actor.wake_s = self.time.now
        self._start_watcher(int(actor.name.split()[1]), at_s=self.time.now + self.random.uniform(0, 60))

    def _kill_mlflow(self) -> None:
        self.mlflow.down = True
        self.time.sleep(self.random.uniform(0.5, 60))
        self.mlflow.down = False

    def _kill_gocd(self) -> None:
        self.gocd_down = True
        self.gocd.forget_queue()
        self.time.sleep(self.random.uniform(0.5, 120))
        self.gocd_down = False


def requests_in(text: str) -> list[str]:
    """The requests that a note remembers."""
    return [request for request, _ in json.loads(text).get("done", ())]
