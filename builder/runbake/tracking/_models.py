"""Which model of a run is meant, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbake.errors import AmbiguousModel, ModelNotReady, NoModel, RunNotFound, TrackingError, UnsafePath
from runbake.tracking._artifacts import store_at
from runbake.tracking._door import Door, one_line
from runbake.tracking._mlmodel import MLMODEL
from runbake.tracking.reference import RunRef
from runbake.tracking.run import RegisteredVersion

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

_READY = "READY"
_HISTORY = "mlflow.log-model.history"
_LONGEST_SOURCE_CHAIN = 5
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that a run logged; `model_id` is "" for one logged by MLflow 2, whose `name` is its path."""

    name: str
    model_id: str
    status: str
    location: str


def model_of_run(door: Door, run: Run, name: str) -> Candidate:
    """The one model of the run with this name, or its only model where `name` is "".

    Models that MLflow 3 logged come first, as `runs:/` reads them; else those of MLflow 2, which are
    directories of the run's artifacts.

    Raises:
        NoModel, AmbiguousModel, ModelNotReady: none fits, several do, or it was not finished.
    """
    run_id = str(run.info.run_id)
    logged = _logged_models(door, run)
    fitting = [model for model in logged if name in ("", model.name)] or _mlflow2_models(door, run, name)
    # The run has ended: beside a finished model, an unfinished one is what an interrupted attempt left.
    usable = [model for model in fitting if model.status == _READY] or fitting
    return ready(chosen(usable, run_id=run_id, name=name, others=sorted({m.name for m in logged})))


def logged_by(door: Door, run: Run) -> tuple[tuple[str, str], ...]:
    """Names and ids of what the run logged as models; a model of MLflow 2 has its path and no id."""
    logged = {(model.name, model.model_id) for model in _logged_models(door, run)}
    named = {name for name, _ in logged}
    paths = _paths_in_history(run.data.tags.get(_HISTORY, "")) - named
    return tuple(sorted(logged | {(path, "") for path in paths}))


def versions_of(door: Door, run_id: str) -> tuple[RegisteredVersion, ...]:
    """The registered versions that name the run with their aliases, sorted by name and number."""
    found: list[tuple[str, str]] = []
    token: str | None = None
    with door.translated(f"registered versions of run {run_id}"):
        while True:
            page = door.client().search_model_versions(f"run_id = '{run_id}'", page_token=token)
            found.extend((str(one.name), str(one.version)) for one in page)
            token = page.token
            if not token:
                break
        # MLflow's search leaves the aliases out.
        aliases = {name: door.client().get_registered_model(name).aliases for name, _ in found}
    return tuple(
        RegisteredVersion(
            name=name,
            version=version,
            aliases=tuple(sorted(alias for alias, of in aliases[name].items() if str(of) == version)),
        )
        for name, version in sorted(found, key=lambda one: (one[0], len(one[1]), one[1]))
    )


def chosen(fitting: Sequence[Candidate], *, run_id: str, name: str, others: Sequence[str]) -> Candidate:
    """The only one that fits; `others` are the names the run does have."""
    if not fitting:
        if name and others:
            raise NoModel(
                f"run {run_id} has no model named {name!r}; it has {_listed(others)}",
                hint=f"name one of them: runs:/{run_id}/{others[0]}",
            )
        raise NoModel(
            f"run {run_id} logged no model" + (f" named {name!r}" if name else ""),
            hint="log one with mlflow.<flavor>.log_model inside the run",
        )
    if len(fitting) == 1:
        return fitting[0]
    names = sorted({model.name for model in fitting})
    if len(names) > 1:
        uris = [f"runs:/{run_id}/{each}" for each in names]
        raise AmbiguousModel(
            f"run {run_id} has {len(fitting)} models: {_listed(uris)}", hint="name one of these instead"
        )
    uris = sorted(f"models:/{model.model_id}" for model in fitting)
    raise AmbiguousModel(
        f"run {run_id} has {len(fitting)} models named {names[0]!r}: {_listed(uris)}",
        hint="name one of these instead; `mlflow` itself would take one of them silently",
    )


def ready(model: Candidate) -> Candidate:
    """The model, if MLflow says that it is complete."""
    if model.status != _READY:
        raise ModelNotReady(
            f"model {model.model_id or model.name} has the status {model.status}, not READY",
            hint="was its logging interrupted? Log it again, or name another model",
        )
    return model


def logged_model(door: Door, model_id: str) -> tuple[Candidate, str]:
    """The MLflow 3 model with this id, and the run that logged it ("" for none)."""
    with door.translated(f"model models:/{model_id}"):
        model = door.client().get_logged_model(model_id)
    return _candidate(model), str(model.source_run_id or "")


def model_of_version(door: Door, version: ModelVersion) -> tuple[Candidate, str]:
    """The model behind a registered version and the run that logged it.

    Raises:
        ModelNotReady: its registration failed or is under way.
        NoModel: it names another run than the one that logged its model.
        RunNotFound: it came from no run.
    """
    label = f"models:/{version.name}/{version.version}"
    if version.status != _READY:
        raise ModelNotReady(
            f"{label} has the status {version.status}, not READY",
            hint=f"MLflow says: {one_line(version.status_message or 'nothing')}",
        )
    model_id = str(version.model_id or "") or _model_id_of_source(door, str(version.source or ""))
    if model_id:
        model, logged_by_run = logged_model(door, model_id)
        run_id = str(version.run_id or "") or logged_by_run
        if logged_by_run not in ("", run_id):
            raise NoModel(
                f"{label} names the run {run_id}, but its model {model_id} was logged by run {logged_by_run}",
                hint=f"nothing says which trained it; name the model itself: models:/{model_id}",
            )
    else:
        with door.translated(f"download location of {label}"):
            uri = door.client().get_model_version_download_uri(version.name, version.version)
        run_id = str(version.run_id or "")
        model = Candidate(name=_name_in(uri), model_id="", status=_READY, location=uri)
    if not run_id:
        raise RunNotFound(
            f"{label} was registered from no run, so nothing says how it was trained",
            hint="register a model that was logged inside a run",
        )
    return ready(model), run_id


def _model_id_of_source(door: Door, source: str) -> str:
    """The logged model that a version's `source` leads to ("" for none); a copied version names another."""
    for _ in range(_LONGEST_SOURCE_CHAIN):
        if not source.startswith("models:/"):
            return ""
        ref = RunRef.parse(source)
        if ref.kind != "version":
            return ref.model_id
        with door.translated(f"registered version {ref}"):
            version = door.client().get_model_version(ref.name, ref.version)
        if version.model_id:
            return str(version.model_id)
        source = str(version.source or "")
    raise TrackingError(f"registered versions refer to each other in a circle, at {source!r}")


def _name_in(uri: str) -> str:
    """The artifact path of a model of MLflow 2 inside its run, from where it is stored."""
    return uri.rpartition("/artifacts/")[2].strip("/") or uri.rpartition("/")[2]


def _logged_models(door: Door, run: Run) -> tuple[Candidate, ...]:
    found = {model.model_id: model for model in _searched(door, run)}
    linked = run.outputs.model_outputs if run.outputs is not None else ()
    for output in linked:
        if output.model_id not in found:
            found |= _linked(door, str(output.model_id))
    return tuple(sorted(found.values(), key=lambda model: (model.name, model.model_id)))


def _linked(door: Door, model_id: str) -> dict[str, Candidate]:
    try:
        return {model_id: logged_model(door, model_id)[0]}
    except RunNotFound:
        return {}  # somebody deleted the model; the run still remembers its id


def _searched(door: Door, run: Run) -> Iterator[Candidate]:
    token: str | None = None
    while True:
        try:
            with door.translated(f"models of run {run.info.run_id}"):
                page = door.client().search_logged_models(
                    experiment_ids=[run.info.experiment_id],
                    filter_string=f"source_run_id = '{run.info.run_id}'",
                    page_token=token,
                )
        except RunNotFound:
            return  # MLflow 2 servers have no such endpoint
        yield from (_candidate(model) for model in page)
        token = page.token
        if not token:
            return


def _candidate(model: LoggedModel) -> Candidate:
    return Candidate(
        name=str(model.name or ""),
        model_id=str(model.model_id),
        status=str(getattr(model.status, "value", model.status)),
        location=str(model.artifact_location),
    )


def _mlflow2_models(door: Door, run: Run, name: str) -> list[Candidate]:
    """Artifact directories with an MLmodel: those the run's history tag names, else any at the top."""
    paths = {name} if name else _paths_in_history(run.data.tags.get(_HISTORY, ""))
    root = str(run.info.artifact_uri)
    with door.translated(f"artifacts of run {run.info.run_id}", missing=NoModel):
        store = store_at(door, root)
        if not paths:
            paths = {entry.name for entry in store.list_directory("") if entry.is_directory}
        return [
            Candidate(name=path, model_id="", status=_READY, location=f"{root.rstrip('/')}/{path}")
            for path in sorted(paths)
            if any(entry.name == MLMODEL for entry in store.list_directory(_inside(path)))
        ]


def _paths_in_history(text: str) -> set[str]:
    try:
        history = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return set()
    if not isinstance(history, list):
        return set()
    return {
        entry["artifact_path"]
        for entry in history
        if isinstance(entry, dict) and isinstance(entry.get("artifact_path"), str) and entry["artifact_path"]
    }


def _inside(path: str) -> str:
    if "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise UnsafePath(f"the run says that it logged a model at {path[:200]!r}, outside its artifacts")
    return path


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
