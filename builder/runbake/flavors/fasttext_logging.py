"""fastText in MLflow's own manner: `log_model`, `save_model`, `load_model`, and `adopt` for older runs.

This runs where models are trained. The model carries its loader as code, so whoever loads it through MLflow
needs neither runbake nor anything but a package that brings `fasttext`.
"""

# MLflow annotates some of its functions and not others.
# mypy: allow-untyped-calls

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from runbake.errors import NoModel
from runbake_serving.flavors import fasttext_model as ours
from runbake_serving.flavors.fasttext_model import LABEL_PREFIX, PREDICT, VECTOR

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo

FLAVOR_NAME: Final = "fasttext"
LOADER: Final = "runbake_fasttext"
"""The module that the model carries."""
_CODE: Final = "code"
_TEXT: Final = "text"
_QUANTIZED_FILE: Final = "model.ftz"
_FILE: Final = "model.bin"


def log_model(fasttext_model: Any, name: str | None = None, **options: Any) -> ModelInfo:
    """Log a fastText model with the active run, or with a new one.

    `fasttext_model` is a trained or loaded model, or the path of a `.bin` or `.ftz` file, which is copied and
    never held in memory. `options` are those of `save_model`, and MLflow's own: `registered_model_name`,
    `await_registration_for`, `run_id`, `model_type`, `params`, `tags`, `step`, `model_id`.

    Raises:
        NoModel: the file is not a whole fastText model, or not one that can answer so.
    """
    from mlflow.models import Model

    info: ModelInfo = Model.log(
        artifact_path=None,
        name=name or FLAVOR_NAME,
        flavor=sys.modules[__name__],
        fasttext_model=fasttext_model,
        **options,
    )
    return info


def save_model(
    fasttext_model: Any,
    path: str | Path,
    *,
    pyfunc_predict_fn: str = "",
    label_prefix: str | None = None,
    conda_env: dict[str, Any] | str | None = None,
    code_paths: Sequence[str] | None = None,
    mlflow_model: Model | None = None,
    signature: ModelSignature | None = None,
    input_example: Any = None,
    pip_requirements: Sequence[str] | str | None = None,
    extra_pip_requirements: Sequence[str] | str | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write a fastText model as an MLflow model to the directory `path`, which must not be there yet.

    `pyfunc_predict_fn` is "predict" (labels and probabilities; params `k` and `threshold`) or
    "get_sentence_vector"; a classifier predicts and other models give vectors unless told otherwise.
    `label_prefix` is cut off the labels that are answered: the one that the model was trained with, else
    `__label__`; "" leaves labels whole. Without `signature` it is one column "text", and the answer's own.
    `input_example` may be a text, a list of them, or anything that MLflow takes.

    Raises:
        NoModel: the file is not a whole fastText model, or not one that can answer so.
    """
    from mlflow.models import Model

    root = _prepared(Path(path), conda_env, pip_requirements, extra_pip_requirements)
    model = Model() if mlflow_model is None else mlflow_model
    file = _written(fasttext_model, root)
    found = _described(root / file)
    predict_fn = pyfunc_predict_fn or (PREDICT if found.supervised else VECTOR)
    _refuse_impossible(found, predict_fn, file)
    model.signature = signature or _signature(predict_fn, found.dimension)
    if metadata is not None:
        model.metadata = metadata
    _save_example_of(model, input_example, root)
    _copy_code(code_paths, root)
    _add_flavors(model, file, found, predict_fn, _prefix(fasttext_model, label_prefix))
    model.save(str(root / "MLmodel"))
    inferred = _requirements(root / file, asked=bool(code_paths))
    _write_environment(root, inferred, conda_env, pip_requirements, extra_pip_requirements)


def load_model(model_uri: str, dst_path: str | None = None) -> Any:
    """The model as `fasttext.load_model` gives it, from any URI that MLflow knows.

    Raises:
        NoModel: there is none of this flavor.
    """
    import fasttext
    from mlflow.artifacts import download_artifacts

    root = Path(download_artifacts(artifact_uri=model_uri, dst_path=dst_path))
    document = yaml.safe_load((root / "MLmodel").read_text(encoding="utf-8"))
    config = document.get("flavors", {}).get(FLAVOR_NAME)
    if not isinstance(config, dict):
        raise NoModel(f"the model at {model_uri} has no {FLAVOR_NAME} flavor")
    path = root / str(config["model_file"])
    _described(path)
    return fasttext.load_model(str(path))


def adopt(run_id: str, artifact_path: str = _FILE, *, name: str | None = None, **options: Any) -> ModelInfo:
    """Make an MLflow model of a bare fastText file among an older run's artifacts, on the same run.

    What the run says stays: its parameters, metrics and times. `options` are those of `log_model`.

    Raises:
        NoModel: the file is not a whole fastText model.
    """
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="runbake-") as scratch:
        path = download_artifacts(run_id=run_id, artifact_path=artifact_path, dst_path=scratch)
        return log_model(path, name, run_id=run_id, **options)


def _prepared(root: Path, *environment: Any) -> Path:
    from mlflow.utils.environment import _validate_env_arguments
    from mlflow.utils.model_utils import _validate_and_prepare_target_save_path

    _validate_env_arguments(*environment)
    _validate_and_prepare_target_save_path(str(root))
    return root


def _written(model: Any, root: Path) -> str:
    """Put the model's file into `root`; its name."""
    if isinstance(model, (str, Path)):
        try:
            name = _QUANTIZED_FILE if _described(Path(model)).quantized else _FILE
            shutil.copyfile(model, root / name)
        except OSError as error:
            raise NoModel(f"cannot read {model}: {error.strerror or error}") from error
        return name
    if not callable(getattr(model, "save_model", None)):
        raise NoModel(
            f"a {type(model).__name__} is no fastText model",
            hint="give what fasttext.train_supervised or load_model gives, or a file's path",
        )
    name = _QUANTIZED_FILE if model.is_quantized() else _FILE
    model.save_model(str(root / name))
    return name


def _described(path: Path) -> ours.FastTextFile:
    try:
        return ours.file_of(path)
    except ours.DamagedModel as error:
        raise NoModel(str(error)) from error


def _refuse_impossible(found: ours.FastTextFile, predict_fn: str, file: str) -> None:
    if predict_fn not in ours.PREDICT_FNS:
        known = " or ".join(map(repr, ours.PREDICT_FNS))
        raise NoModel(f"pyfunc_predict_fn is {known}, not {predict_fn!r}")
    if predict_fn == PREDICT and not found.supervised:
        raise NoModel(f"{file} is a {found.kind} model: it has vectors, and no labels to predict")


def _signature(predict_fn: str, dimension: int) -> ModelSignature:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array

    inputs = Schema([ColSpec(DataType.string, _TEXT)])
    if predict_fn == VECTOR:
        return ModelSignature(inputs, Schema([TensorSpec(np.dtype(np.float32), (-1, dimension))]))
    outputs = Schema(
        [ColSpec(Array(DataType.string), "labels"), ColSpec(Array(DataType.double), "probabilities")]
    )
    params = [ParamSpec("k", DataType.long, 1), ParamSpec("threshold", DataType.double, 0.0)]
    return ModelSignature(inputs, outputs, ParamSchema(params))


def _save_example_of(model: Model, example: Any, root: Path) -> None:
    import pandas as pd
    from mlflow.models.utils import _save_example

    data, rest = (example[0], example[1:]) if isinstance(example, tuple) else (example, ())
    if isinstance(data, str) or (isinstance(data, list) and all(isinstance(text, str) for text in data)):
        data = pd.DataFrame({_TEXT: [data] if isinstance(data, str) else data})
    _save_example(model, (data, *rest) if rest else data, str(root))


def _copy_code(code_paths: Sequence[str] | None, root: Path) -> None:
    from mlflow.utils.model_utils import _validate_and_copy_code_paths

    _validate_and_copy_code_paths(list(code_paths) if code_paths else None, str(root), _CODE)
    (root / _CODE).mkdir(exist_ok=True)
    shutil.copyfile(str(ours.__file__), root / _CODE / f"{LOADER}.py")


def _add_flavors(model: Model, file: str, found: ours.FastTextFile, predict_fn: str, prefix: str) -> None:
    from mlflow import pyfunc

    pyfunc.add_to_model(
        model,
        loader_module=LOADER,
        data=file,
        code=_CODE,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    model.add_flavor(
        FLAVOR_NAME,
        model_file=file,
        model_kind=found.kind,
        predict_fn=predict_fn,
        label_prefix=prefix,
        dimension=found.dimension,
        quantized=found.quantized,
        labels=len(found.labels) if found.supervised else 0,
        code=_CODE,
    )


def _prefix(model: Any, given: str | None) -> str:
    # A model that was just trained knows its own; one that was loaded has forgotten it.
    return given if given is not None else str(getattr(model, "label", "") or LABEL_PREFIX)


def _requirements(data: Path, *, asked: bool) -> list[str]:
    """What the loader imports, as it is installed here; with `asked`, MLflow looks at the code beside it."""
    names = ["numpy", "pandas", *sorted(set(packages_distributions().get("fasttext", ())))[:1]]
    found = [f"{name}=={version(name)}" for name in names]
    if asked:
        from mlflow.models import infer_pip_requirements

        found = sorted({*found, *infer_pip_requirements(str(data), FLAVOR_NAME, fallback=found)})
    from mlflow import __version__ as mlflow_version

    return [f"mlflow=={mlflow_version}", *(line for line in found if not line.startswith("mlflow"))]


def _write_environment(
    root: Path,
    default: list[str],
    conda_env: dict[str, Any] | str | None,
    pip_requirements: Sequence[str] | str | None,
    extra: Sequence[str] | str | None,
) -> None:
    from mlflow.utils.environment import _process_conda_env, _process_pip_requirements, _PythonEnv

    if conda_env is None:
        processed = _process_pip_requirements(
            default if pip_requirements is None else None, pip_requirements, extra
        )
    else:
        processed = _process_conda_env(conda_env)
    conda, requirements, constraints = processed
    files: Mapping[str, str] = {
        "conda.yaml": yaml.safe_dump(conda, default_flow_style=False),
        "requirements.txt": "\n".join(requirements),
        **({"constraints.txt": "\n".join(constraints)} if constraints else {}),
    }
    for file, text in files.items():
        (root / file).write_text(text, encoding="utf-8")
    _PythonEnv.current().to_yaml(str(root / "python_env.yaml"))


__all__ = ["adopt", "load_model", "log_model", "save_model"]
