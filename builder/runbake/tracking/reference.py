"""How a user names a run: parsed once, at the door."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from runbake.errors import InvalidReference

Kind = Literal["run", "model", "version", "alias"]

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_VERSION = re.compile(r"[1-9][0-9]*")
_ALIAS = re.compile(r"[\w-]{1,255}")
_VERSION_LIKE_ALIAS = re.compile(r"[vV]\d+")

_ACCEPTED = (
    "accepted are: RUN_ID (32 hex digits), runs:/RUN_ID, runs:/RUN_ID/NAME, models:/m-MODEL_ID, "
    "models:/NAME/VERSION, models:/NAME@ALIAS, or --experiment NAME"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRef:
    """One of the ways to name a run and its model; `str(RunRef.parse(s)) == s` for every `s` it accepts.

    `kind` says which fields are set:
        "run": `run_id`, and `name` where the text was `runs:/RUN_ID/NAME`;
        "model": `model_id`;
        "version": `name` and `version`;
        "alias": `name` and `alias`.
    """

    text: str
    kind: Kind
    run_id: str = ""
    model_id: str = ""
    name: str = ""
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> RunRef:
        """The reference that this text is.

        A registered NAME is any text that MLflow takes: not blank, no `/` and `:`, not `.` or `..`. An ALIAS
        is letters, digits, `_` and `-`, neither `latest` nor `v1`; the last `@` starts it. A VERSION is a
        positive number without leading zeros. The NAME after `runs:/RUN_ID/` may hold `/` (MLflow 2 logged
        under paths), but no empty, `.` or `..` part.

        Raises:
            InvalidReference: it is none of them; the hint lists what is accepted.

        Source: mlflow/utils/validation.py and mlflow/store/artifact/utils/models.py of 3.17.
        """
        if text != text.strip():
            raise _refused(text, "it begins or ends with a blank")
        if _RUN_ID.fullmatch(text):
            return cls(text=text, kind="run", run_id=text)
        if text.startswith("runs:/"):
            return cls._parse_run_uri(text)
        if text.startswith("models:/"):
            return cls._parse_model_uri(text)
        raise _refused(text, "it is neither a run id nor a runs:/ or models:/ URI")

    @classmethod
    def _parse_run_uri(cls, text: str) -> RunRef:
        run_id, slash, name = text.removeprefix("runs:/").partition("/")
        if not _RUN_ID.fullmatch(run_id):
            raise _refused(text, "the run id is not 32 lower-case hex digits")
        if slash and any(part in ("", ".", "..") for part in name.split("/")):
            raise _refused(text, "the model's name is empty or has an empty, '.' or '..' part")
        if "\0" in name or "\\" in name:
            raise _refused(text, "the model's name holds a NUL or a backslash")
        return cls(text=text, kind="run", run_id=run_id, name=name)

    @classmethod
    def _parse_model_uri(cls, text: str) -> RunRef:
        rest = text.removeprefix("models:/")
        if _MODEL_ID.fullmatch(rest):
            return cls(text=text, kind="model", model_id=rest)
        name, slash, version = rest.partition("/")
        if slash:
            if not _VERSION.fullmatch(version):
                raise _refused(text, "the version is not a positive number (stages and 'latest' move)")
            return cls(text=text, kind="version", name=_registered_name(text, name), version=version)
        name, at, alias = rest.rpartition("@")
        if not at:
            raise _refused(text, "a registered model needs a version or an alias")
        if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or _VERSION_LIKE_ALIAS.fullmatch(alias):
            raise _refused(text, "that alias cannot exist")
        return cls(text=text, kind="alias", name=_registered_name(text, name), alias=alias)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByExperiment:
    """The latest promoted, finished run of the experiment with this name."""

    name: str

    def __str__(self) -> str:
        return f"--experiment {self.name}"


def _registered_name(text: str, name: str) -> str:
    if not name.strip() or ":" in name or "\0" in name or name in (".", ".."):
        raise _refused(text, "the model's name is blank, '.', '..' or holds a ':' or NUL")
    return name


def _refused(text: str, why: str) -> InvalidReference:
    return InvalidReference(f"cannot read the run reference {text[:200]!r}: {why}", hint=_ACCEPTED)
