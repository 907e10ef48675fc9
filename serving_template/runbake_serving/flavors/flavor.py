"""What a flavor gives the runtime: how its models are loaded, a prediction, and fixed rules about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if (
    TYPE_CHECKING
):  # it needs numpy, which the toolkit has not: it reads fastText's files by a module next door
    from runbake_serving.model.signature import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be done with one loaded model.

    Attributes:
        rows_may_be_joined: rows of several requests may be predicted in one call.
        array_dtype: numpy's name of the one dtype under which an array of the signature's columns gives the
            same answers as a DataFrame; None where only a DataFrame will do.
        tolerance: relative difference of floats that counts as equal between joined and single rows.
        refusals: what the model raises for values that it will not take: the caller's fault.
        takes_inputs_as_given: the model checks what `inputs` holds by itself; no other form will do.
    """

    rows_may_be_joined: bool
    array_dtype: str | None = None
    tolerance: float = 0.0
    refusals: tuple[type[Exception], ...] = ()
    takes_inputs_as_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in memory: `predict(data, params)` takes what the signature promises.

    `outlive` waits for the end of a process without which it answers nothing; None where there is none.
    """

    predict: Callable[[Any, Mapping[str, Any]], Any]
    rules: Rules
    outlive: Callable[[], object] | None = None


class Loader(Protocol):
    """Loads one flavor; raises StartError for a model that it cannot load."""

    def __call__(
        self,
        root: Path,
        flavors: Mapping[str, Any],
        signature: Signature,
        *,
        always_dataframe: bool,
        **trust: tuple[str, ...],
    ) -> Loaded:
        """The model in `root`, of which MLmodel's `flavors` section says `flavors`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One flavor as this room lists it; nothing of its library is imported until a model is loaded.

    Attributes:
        name: the key under `flavors` in MLmodel that it is recognised by.
        module: the module whose `load` is its `Loader`.
        forks: a loaded model survives a fork, so it is loaded once and all workers share its memory. A model
            with threads or a process of its own does not: it is loaded in the one worker that it has.
        trusts: its files may hold types that whoever built the image must trust first, as those of skops
            may; then `load` takes their names as `trusted_types`.
    """

    name: str
    module: str
    forks: bool = True
    trusts: bool = False

    def load(
        self,
        root: Path,
        flavors: Mapping[str, Any],
        signature: Signature,
        *,
        always_dataframe: bool,
        trusted_types: tuple[str, ...] = (),
    ) -> Loaded:
        """The model in `root`.

        Raises:
            StartError: it cannot be loaded.
        """
        loader: Loader = import_module(self.module).load
        trust = {"trusted_types": trusted_types} if self.trusts else {}
        return loader(root, flavors, signature, always_dataframe=always_dataframe, **trust)
