"""Two runs or images side by side, from their label files; and what would break callers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runbake.errors import TraceError

SECTIONS = ("parameters", "metrics", "data", "requirements", "signature", "files", "layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: its label file, or as much of one as a run has, and sizes in bytes by layer digest."""

    name: str
    label_file: Mapping[str, Any]
    layers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same; "" is not there. `breaks` says why callers of the first notice."""

    section: str
    what: str
    before: str
    after: str
    breaks: str = ""

    def to_json(self) -> dict[str, str]:
        """The difference as a document."""
        found = {"section": self.section, "what": self.what, "before": self.before, "after": self.after}
        return found | ({"breaks": self.breaks} if self.breaks else {})


def differences(before: Side, after: Side) -> tuple[Difference, ...]:
    """Everything that differs, in the order of `SECTIONS` and by name in each.

    Raises:
        TraceError: a label file lacks what is compared; whoever can push may have written it.
    """
    try:
        return tuple(_differences(before, after))
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"the label files of {before.name} and {after.name} cannot be compared: {error!r}"
        raise TraceError(problem[:500]) from error


def _differences(before: Side, after: Side) -> Iterator[Difference]:
    for section, facts in (
        ("parameters", _parameters),
        ("metrics", _metrics),
        ("data", _data),
        ("requirements", _requirements),
    ):
        yield from _compared(section, facts(before.label_file), facts(after.label_file))
    yield from _signature(_model(before).get("signature") or {}, _model(after).get("signature") or {})
    yield from _compared("files", _files(before.label_file), _files(after.label_file))
    yield from _compared("layers", _layers(before), _layers(after))


def _compared(section: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for what in sorted(before.keys() | after.keys()):
        if before.get(what) != after.get(what):
            yield Difference(
                section=section, what=what, before=before.get(what, ""), after=after.get(what, "")
            )


def _model(side: Side) -> Mapping[str, Any]:
    model: Mapping[str, Any] = side.label_file["model"]
    return model


def _parameters(label_file: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in label_file["run"]["parameters"].items()}


def _metrics(label_file: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(metric["value"]) for name, metric in label_file["run"]["metrics"].items()}


def _data(label_file: Mapping[str, Any]) -> dict[str, str]:
    # MLflow's digest is no proof that data are equal, but another one proves that they are not.
    return {
        f"{data['context'] or 'data'} {data['name']}": f"{data['mlflowDigest']['value']} {data['source']}"
        for data in label_file["data"]
    }


def _requirements(label_file: Mapping[str, Any]) -> dict[str, str]:
    lock = label_file["environment"]["lock"]
    if "wheels" in lock:
        return {wheel["name"]: wheel["version"] for wheel in lock["wheels"]}
    return dict.fromkeys(lock["modelRequirements"], "asked for")


def _files(label_file: Mapping[str, Any]) -> dict[str, str]:
    return {
        file["path"]: " ".join(filter(None, (f"{file['size']} bytes", file.get("sha256", "")[:12])))
        for file in label_file["model"]["files"]
    }


def _layers(side: Side) -> dict[str, str]:
    return {digest: f"{size} bytes" for digest, size in side.layers}


def _signature(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for part in ("inputs", "outputs", "params"):
        old, new = _fields(before.get(part)), _fields(after.get(part))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield Difference(
                    section="signature",
                    what=f"{part} {name}",
                    before=_spelled(old.get(name)),
                    after=_spelled(new.get(name)),
                    breaks=_breaks(part, old.get(name), new.get(name)),
                )


def _fields(part: object) -> dict[str, dict[str, Any]]:
    fields = part if isinstance(part, list) else []
    return {
        str(field.get("name", position)): {key: value for key, value in field.items() if key != "name"}
        for position, field in enumerate(fields)
        if isinstance(field, dict)
    }


def _spelled(field: Mapping[str, Any] | None) -> str:
    if field is None:
        return ""
    return " ".join(f"{key}={value}" for key, value in sorted(field.items()))


def _breaks(part: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    """Why a caller of the old model gets an error or another kind of answer; "" where none does."""
    if new is None:
        # An input that nobody asks for any more is dropped, as MLflow does.
        return "" if part == "inputs" else "callers may use it, and it is gone"
    if old is None:
        required = part == "inputs" and new.get("required", True)
        return "callers do not send it, and it is required" if required else ""
    if {key: old.get(key) for key in ("type", "tensor-spec", "shape")} != {
        key: new.get(key) for key in ("type", "tensor-spec", "shape")
    }:
        return "its type is another"
    if part == "inputs" and new.get("required", True) and not old.get("required", True):
        return "callers may leave it out, and it is required now"
    return ""
