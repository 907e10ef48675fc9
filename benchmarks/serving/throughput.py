"""Requests a second and latency of small requests, the servers taking turns."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.models import Body, Saved
from benchmarks.serving.servers import Running, Server
from benchmarks.serving.wrk import Load, check, load, middle
from benchmarks.table import Row

_ROWS = 2
_MANY, _ONE = 16, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a server is asked, and where."""

    path: str
    body: Body


def asks_of(saved: Saved) -> Mapping[str, Ask]:
    """For each server the request it understands, all with the same rows."""
    split = Ask(path="/invocations", body=saved.split(_ROWS))
    bare = Ask(path="/invocations", body=saved.matrix(_ROWS, "rows")) if _numbers_only(saved) else split
    tensors = Ask(path="/v2/models/model/infer", body=saved.tensors(_ROWS))
    return {
        **dict.fromkeys(("limit", "runbake", "mlflow"), split),
        **dict.fromkeys(("bentoml", "litserve"), bare),
        "mlserver": tensors,
    }


def _numbers_only(saved: Saved) -> bool:
    return all(kind.kind == "f" for kind in saved.rows.dtypes)


def measured(
    bench: Bench, saved: Saved, chosen: Sequence[Server], connections: Sequence[int]
) -> Mapping[tuple[str, int], Load]:
    """Medians by server and connections; the first of `chosen` is ours, whose answer the limit gives.

    Raises:
        NotThere: a server does not come up, or does not answer rightly.
    """
    asks, found = asks_of(saved), dict[tuple[str, int], list[Load]]()
    answer = bench.work / "answer"
    ours = chosen[0]
    with bench.running([ours], saved) as (running,):
        answer.write_bytes(check(running, asks[ours.name].path, asks[ours.name].body))
    with bench.running([*chosen, servers.limit(answer)], saved) as up:
        for running in up:
            check(running, asks[running.server.name].path, asks[running.server.name].body)
            _asked(bench, running, asks, _MANY, seconds=1)
        for _ in range(bench.sizes.repeats):
            for count in connections:
                for running in up:
                    one = _asked(bench, running, asks, count, seconds=bench.sizes.seconds)
                    found.setdefault((running.server.name, count), []).append(one)
                    print(
                        f"{saved.path.name}, {count} connections, {running.server.name}: {one}",
                        file=sys.stderr,
                    )
    return {key: middle(loads) for key, loads in found.items()}


def _asked(bench: Bench, running: Running, asks: Mapping[str, Ask], count: int, *, seconds: int) -> Load:
    ask = asks[running.server.name]
    return load(running, ask.path, ask.body, connections=count, seconds=seconds, work=bench.work)


def floats(bench: Bench) -> list[Row]:
    """30 float columns, 2 rows a request, beside all peers."""
    peers = [servers.MLFLOW, servers.MLSERVER, servers.BENTOML, servers.LITSERVE]
    saved, ours = bench.saved("float"), servers.runbake(bench.runtime)
    found = measured(bench, saved, [ours, *peers], (_MANY, _ONE))
    names = [peer.name for peer in peers]
    many = {name: found[name, _MANY].per_second for name in ("runbake", "limit", *names)}
    one = {name: found[name, _ONE].per_second for name in ("runbake", "limit", *names)}
    others = [name for name in names if name != "mlflow"]
    best, best_one = max(others, key=lambda name: many[name]), max(names, key=lambda name: one[name])
    what = f"float pipeline, {_ROWS} rows a request, {_MANY} connections"
    ours_many = found["runbake", _MANY]
    share = many["runbake"] / many["limit"]
    return [
        Row(
            what=what,
            ours=_per_second(ours_many),
            peer=f"limit: {_per_second(found['limit', _MANY])}",
            found=f"{share:.0%} of the limit",
            limit="50 %",
            reached=share >= 0.5,
        ),
        times_row(what, found, "mlflow", _MANY, least=30),
        times_row(f"{what}, the best other peer", found, best, _MANY, least=4),
        *(times_row(what, found, name, _MANY, least=None) for name in others if name != best),
        times_row("the same, 1 connection, the best peer", found, best_one, _ONE, least=2),
        *(
            times_row("the same, 1 connection", found, name, _ONE, least=None)
            for name in (*names, "limit")
            if name != best_one
        ),
        Row(
            what=f"processor time of one answer at {_MANY} connections",
            ours=f"{ours_many.cpu_ms:.2f} ms",
            peer=", ".join(f"{name}: {found[name, _MANY].cpu_ms:.2f} ms" for name in ("limit", *names)),
            found=f"{found['limit', _MANY].cpu_ms / ours_many.cpu_ms:.0%} of the limit",
            limit="",
            reached=None,
        ),
        Row(
            what=f"p99 beside p50 at {_MANY} connections",
            ours=f"p50 {ours_many.p50_ms:.1f} ms, p99 {ours_many.p99_ms:.1f} ms",
            peer=", ".join(
                f"{name}: p50 {found[name, _MANY].p50_ms:.1f} ms, p99 {found[name, _MANY].p99_ms:.1f} ms"
                for name in ("limit", *names)
            ),
            found=f"{ours_many.p99_ms / ours_many.p50_ms:.1f}x",
            limit="4x",
            reached=ours_many.p99_ms <= 4 * ours_many.p50_ms,
        ),
    ]


def text(bench: Bench) -> list[Row]:
    """TF-IDF and a linear model, beside those that speak MLflow."""
    return _dataframes(bench, "text", "text pipeline (TF-IDF)", least=None)


def mixed(bench: Bench) -> list[Row]:
    """Numbers and words through a ColumnTransformer, which needs a DataFrame."""
    return _dataframes(bench, "mixed", "mixed-type ColumnTransformer", least=8)


def _dataframes(bench: Bench, name: str, what: str, *, least: float | None) -> list[Row]:
    ours = servers.runbake(bench.runtime)
    peers = [servers.MLFLOW, servers.MLSERVER]
    found = measured(bench, bench.saved(name), [ours, *peers], (_MANY,))
    what = f"{what}, {_ROWS} rows a request, {_MANY} connections"
    return [
        times_row(what, found, "mlflow", _MANY, least=least),
        times_row(what, found, "mlserver", _MANY, least=None),
        times_row(what, found, "limit", _MANY, least=None),
    ]


def times_row(
    what: str, found: Mapping[tuple[str, int], Load], peer: str, connections: int, *, least: float | None
) -> Row:
    """How many times a peer's requests per second are ours; `least` None only informs."""
    ours, theirs = found["runbake", connections], found[peer, connections]
    times = ours.per_second / theirs.per_second
    return Row(
        what=what,
        ours=_per_second(ours),
        peer=f"{peer}: {_per_second(theirs)}",
        found=f"{times:.1f}x" if times >= 1 else f"{times:.2f}x",
        limit="" if least is None else f"{least:g}x",
        reached=None if least is None else times >= least,
    )


def _per_second(one: Load) -> str:
    return f"{one.per_second:.0f}/s"
