"""What a flavor gives the runtime: a prediction, and fixed rules about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbake_serving.signature import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be done with one loaded model.

    Attributes:
        rows_may_be_joined: rows of several requests may be predicted in one call.
        array_dtype: numpy's name of the one dtype under which an array of the signature's columns gives the
            same answers as a DataFrame; None where only a DataFrame will do.
        tolerance: relative difference of floats that counts as equal between joined and single rows.
        most_workers: worker processes at most; None leaves it to the CPUs.
        before_fork: the model may be loaded once and inherited by the workers.
        refusals: what the model raises for values that it will not take: the caller's fault.
    """

    rows_may_be_joined: bool
    array_dtype: str | None = None
    tolerance: float = 0.0
    most_workers: int | None = None
    before_fork: bool = True
    refusals: tuple[type[Exception], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in memory: `predict(data, params)` takes what the signature promises."""

    predict: Callable[[Any, Mapping[str, Any]], Any]
    rules: Rules


class Loader(Protocol):
    """Loads one flavor; raises StartError for a model that it cannot load."""

    def __call__(
        self, root: Path, flavors: Mapping[str, Any], signature: Signature, *, always_dataframe: bool
    ) -> Loaded:
        """The model in `root`, of which MLmodel's `flavors` section says `flavors`."""
        ...
