"""The process that owns the sockets and the workers: load once, fork, watch, drain.

The model is loaded before the fork and frozen (`gc.freeze`), so that workers share its memory: a collection
writes into every object that it looks at, and its page is copied. This process
never predicts: OpenMP in a forked child hangs if its parent used it. Signals are waited for, not handled:
with all of them blocked there is no moment at which one is lost or strikes in the middle of something.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from runbake_serving.contract import CRASHED, NOT_READY, OVERRAN
from runbake_serving.errors import StartError
from runbake_serving.log import LOGGER, cause_of
from runbake_serving.settings import Settings

MOST_CRASHES = 5
"""Workers that may die on their own within `CRASH_WINDOW_S` before the process gives up."""
CRASH_WINDOW_S = 60.0
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
_WATCHED = frozenset({*_STOPPING, signal.SIGCHLD, signal.SIGALRM})
# Beyond the grace time a worker gets this long to cancel, answer and end before it is killed.
_LAST_CALL_S = 2.0

Work = Callable[[Sequence[socket.socket], int], int]
"""What a worker does with the sockets until the pipe closes; returns its exit status.

It is called with signals blocked, and lets them through when it is ready for them."""


def bound_sockets(settings: Settings) -> tuple[socket.socket, ...]:
    """Sockets that are bound and do not listen yet: until a worker is ready, callers are refused.

    Raises:
        StartError: the address is taken, or not ours.
    """
    with ExitStack() as undone:
        bound = []
        if not settings.uds:
            with _named(f"{settings.host}:{settings.port}"):
                tcp = _tcp_socket(settings.host, settings.port, shared=settings.reuse_port)
                bound.append(undone.enter_context(tcp))
        for path in (settings.uds, settings.probe):
            if path:
                with _named(str(path)):
                    bound.append(undone.enter_context(_unix_socket(path)))
        undone.pop_all()
    return tuple(bound)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        raise StartError(
            f"cannot serve on {where}: {error}", hint="set RUNBAKE_HOST, RUNBAKE_PORT or RUNBAKE_UDS"
        ) from error


def _tcp_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with ExitStack() as undone:
        listener = undone.enter_context(socket.socket(family, kind, protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            # Not as a rule: two models that were given one port by mistake would answer in turns.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        undone.pop_all()
    return listener


def _unix_socket(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        if _is_bound(path):
            raise OSError(errno.EADDRINUSE, "another server has this socket")
        path.unlink()  # left behind by a process that was killed
    with ExitStack() as undone:
        listener = undone.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        # Who may reach it is decided by the directory; the caller is another user than ours as a rule.
        path.chmod(0o666)
        undone.pop_all()
    return listener


def _is_bound(path: Path) -> bool:
    # A server that still loads its model is bound and does not listen, so that it refuses callers just as
    # an empty path does. A socket of another kind is refused as such only where there is a socket at all.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
    return True


def remove_socket(path: Path, *, inode: int | None) -> None:
    """Remove the socket's path, unless another server has put its own there meanwhile."""
    with suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _pause_s(crashes: int) -> float:
    """How long to wait before a worker is replaced: not at all once, then longer with each crash."""
    # What made one worker die may pass: a memory limit, a file being replaced.
    return 0.0 if crashes < 2 else 0.25 * 2 ** (crashes - 2)


@dataclass(slots=True)
class Supervisor:
    """Keeps `workers` processes running `work` on `sockets` until a signal ends it.

    `now_s` is a monotonic clock.
    """

    work: Work
    sockets: Sequence[socket.socket]
    workers: int
    grace_s: float
    now_s: Callable[[], float]
    _children: set[int] = field(default_factory=set)
    _crashes: deque[float] = field(default_factory=deque)
    _lifeline: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; 0 if all workers ended well, else `OVERRAN` or `CRASHED`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        # Workers drain when the other end closes, also when this process is killed without a word. A signal
        # would not tell who sent it, and one worker that drains closes the socket of all.
        self._lifeline = os.pipe()
        gc.freeze()
        for _ in range(self.workers):
            self._start_worker()
        return self._drain(self._watch())

    def _start_worker(self) -> None:
        child = os.fork()
        if child == 0:
            self._become_worker()
        self._children.add(child)

    def _become_worker(self) -> NoReturn:
        status = CRASHED
        try:
            os.close(self._lifeline[1])
            gc.enable()
            status = self.work(self.sockets, self._lifeline[0])
        except BaseException as error:  # noqa: BLE001 -- the process ends here, and nobody else would tell why
            LOGGER.error("worker failed", extra={"fields": cause_of(error)})
        finally:
            # Neither the parent's cleanup nor a prediction that outlived its grace time may hold us here.
            os._exit(status)

    def _watch(self) -> int:
        """Replace dead workers until a signal says stop (0), they die too often, or one cannot get ready."""
        while True:
            if signal.sigwait(_WATCHED) in _STOPPING:
                return 0
            for child, status in self._buried():
                if status == NOT_READY:
                    return NOT_READY
                LOGGER.error("worker died", extra={"fields": {"worker": child, "status": status}})
                self._crashes.append(self.now_s())
                if self._crashes_too_often():
                    LOGGER.error("workers keep dying: giving up")
                    return CRASHED
                if self._told_to_stop_within(_pause_s(len(self._crashes))):
                    return 0
                self._start_worker()

    @staticmethod
    def _told_to_stop_within(pause_s: float) -> bool:
        return pause_s > 0 and signal.sigtimedwait(_STOPPING, pause_s) is not None

    def _crashes_too_often(self) -> bool:
        while self._crashes and self._crashes[0] < self.now_s() - CRASH_WINDOW_S:
            self._crashes.popleft()
        return len(self._crashes) >= MOST_CRASHES

    def _buried(self) -> list[tuple[int, int]]:
        ended = []
        for child in tuple(self._children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                self._children.discard(pid)
                ended.append((pid, os.waitstatus_to_exitcode(status)))
        return ended

    def _drain(self, status: int) -> int:
        """Let every worker finish what it has, then kill what is left; the exit status of it all."""
        for listener in self.sockets:
            listener.close()
        os.close(self._lifeline[1])
        signal.setitimer(signal.ITIMER_REAL, self.grace_s + _LAST_CALL_S)
        while self._children:
            ended = self._buried()
            for _, code in ended:
                status = status or (code if code in (0, OVERRAN, NOT_READY) else CRASHED)
            if self._children and not ended and signal.sigwait(_WATCHED) == signal.SIGALRM:
                LOGGER.error("grace time is over: workers are killed")
                for child in self._children:
                    os.kill(child, signal.SIGKILL)
                status = status or OVERRAN
        return status
