"""The request that builds an image again, from what its statement and its label files say of the first build.

Pure. Whoever may push to the registry may have written both: each value is read strictly, and none names a
file or a program of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbake.environment import Lock
from runbake.errors import RunbakeError, VerificationFailed
from runbake.image import Digest
from runbake.release.base_name import BaseName
from runbake.release.request import Pinned, Request
from runbake.tracking import RunRef
from runbake_serving import contract

_PLATFORMS = ("linux/amd64", "linux/arm64")


def request_again(
    parameters: Mapping[str, Any], label_files: tuple[Mapping[str, Any], ...], base: str = ""
) -> Request:
    """What to ask for to get the same image: base and lock of each platform as they were, nothing pushed.

    Args:
        parameters: `externalParameters` of the SLSA provenance.
        label_files: one for each platform, in the image's order.
        base: where the base image is now, "" for where it was; its digest is as it was in either case.

    Raises:
        VerificationFailed: they do not describe a build of runbake.
    """
    try:
        return _request(parameters, label_files, base)
    except (RunbakeError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"what is recorded of this image does not say how to build it: {error!r}"
        raise VerificationFailed(text[:500]) from error


def _request(parameters: Mapping[str, Any], label_files: tuple[Mapping[str, Any], ...], base: str) -> Request:
    pinned = tuple(_pinned(label_file["environment"]) for label_file in label_files)
    platforms = tuple(each.platform for each in pinned)
    if list(platforms) != parameters["platforms"]:
        raise ValueError(f"its platforms are {platforms}, and {parameters['platforms']} were asked for")
    return Request(
        run=_run(parameters),
        model_name=str(parameters["modelName"]) if not any(parameters["registered"]) else "",
        base=BaseName.parse(base or str(parameters["base"])),
        platforms=platforms,
        repository=None,
        tags=(),
        layout=None,
        archive=None,
        image_format=_one_of(parameters["format"], ("oci", "docker")),
        model_layer=_one_of(parameters["modelLayer"], ("auto", "gzip", "none")),
        bytecode=_flag(parameters["bytecode"]),
        whole_wheels=_flag(parameters["wholeWheels"]),
        additions=tuple(_one_of(each, tuple(contract.ADDITIONS)) for each in parameters["with"]),
        trusted_types=tuple(str(each) for each in label_files[0]["model"]["trustedTypes"]),
        dataframe_path=_flag(parameters["dataframePath"]),
        prove=False,
        # Whether somebody has demoted the run since does not change what it is.
        allow_unpromoted=True,
        allow_unproven=True,
        move_tag=False,
        relock=False,
        lock_date="",
        created=str(parameters["created"]),
        pinned=pinned,
    )


def _run(parameters: Mapping[str, Any]) -> RunRef:
    """The version that RUN named, which the label file repeats; else the model, else the run."""
    name, version = parameters["registered"]
    if name:
        return RunRef.parse(f"models:/{name}/{version}")
    return RunRef.parse(f"models:/{parameters['model']}" if parameters["model"] else str(parameters["run"]))


def _pinned(environment: Mapping[str, Any]) -> Pinned:
    document = {key: value for key, value in environment["lock"].items() if key != "digest"}
    lock = Lock.from_document(document)
    if lock.digest != environment["lock"]["digest"]:
        raise ValueError("the lock in the label file has another digest than it says")
    platform = _one_of(environment["platform"], _PLATFORMS)
    return Pinned(platform=platform, base=Digest(environment["base"]["digest"]), lock=lock)


def _one_of(value: object, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
