"""The same rows through each protocol that ours speaks."""

from __future__ import annotations

import sys

from benchmarks.serving import servers
from benchmarks.serving.bench import Bench
from benchmarks.serving.models import Body, Saved
from benchmarks.serving.servers import NotThere, Running
from benchmarks.serving.wrk import Load, check, load, middle
from benchmarks.table import Row

_ROWS, _CONNECTIONS = 2, 16


def _forms_of(saved: Saved) -> dict[str, tuple[str, Body]]:
    return {
        "/invocations, dataframe_split": ("/invocations", saved.split(_ROWS)),
        "/invocations, Arrow stream": ("/invocations", saved.arrow(_ROWS)),
        "/predict, typed": ("/predict", saved.records(_ROWS)),
        "Open Inference Protocol V2": ("/v2/models/model/infer", saved.tensors(_ROWS)),
    }


def forms(bench: Bench) -> list[Row]:
    """Requests a second of the float pipeline for each form, which only informs."""
    saved = bench.saved("float")
    found: dict[str, list[Load]] = {}
    forms = _forms_of(saved)
    with bench.running([servers.runbake(bench.runtime)], saved) as (ours,):
        spoken = {name: form for name, form in forms.items() if _is_spoken(ours, *form)}
        for _ in range(bench.sizes.repeats):
            for name, (path, body) in spoken.items():
                one = load(
                    ours,
                    path,
                    body,
                    connections=_CONNECTIONS,
                    seconds=bench.sizes.seconds,
                    work=bench.work,
                )
                found.setdefault(name, []).append(one)
    return [_row(name, middle(found[name]) if name in found else None) for name in forms]


def _is_spoken(ours: Running, path: str, body: Body) -> bool:
    try:
        check(ours, path, body)
    except NotThere as error:
        print(f"{path}, {body.content_type}: {error}", file=sys.stderr)
        return False
    return True


def _row(name: str, found: Load | None) -> Row:
    return Row(
        what=f"float pipeline, {_ROWS} rows a request, {_CONNECTIONS} connections: {name}",
        ours=f"{found.per_second:.0f}/s" if found else "not understood",
        peer="",
        found=f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms" if found else "",
        limit="",
        reached=None,
    )
