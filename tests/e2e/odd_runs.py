"""`python -m tests.e2e.odd_runs URI DIRECTORY`: log runs that cannot be built; prints their ids as JSON.

One model is trained, and each run logs a copy of it that is wrong in one way. A process of its own: MLflow
and scikit-learn warn, and in the tests' process warnings are errors.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.models import infer_signature

from tests.e2e.train import wines

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "numpy", "pandas", "scipy")
ASKS_FOR = {
    "contradiction": ("scikit-learn", "numpy==2.1.0", "numpy==2.2.0"),
    "no-such-package": ("scikit-learn", "runbake-there-is-no-such-package==1.0"),
    "sdist-only": ("scikit-learn", "docopt==0.6.2"),
    "git": ("scikit-learn", "git+https://git.example.com/ours.git@main"),
    "named-git": ("scikit-learn", "ours @ git+https://git.example.com/ours.git"),
    "local-path": ("scikit-learn", "./wheels/ours-1.0-py3-none-any.whl"),
    "editable": ("scikit-learn", "-e ."),
    "another-file": ("scikit-learn", "-r more.txt"),
}
"""Runs whose model has requirements that no lock can be made of."""


class Logger:
    """Logs runs with copies of one model that was saved to `saved`."""

    def __init__(self, uri: str, directory: Path) -> None:
        mlflow.set_tracking_uri(uri)
        self.client, self.directory = MlflowClient(), directory
        self.saved = directory / "saved"
        self.experiment = self.client.create_experiment("odd")

    def save(self) -> None:
        """Train a classifier of wines and keep it in a directory."""
        from sklearn.linear_model import LogisticRegression

        frame = wines()
        inputs = frame.drop(columns="cultivar")
        model = LogisticRegression(max_iter=50).fit(inputs, frame["cultivar"])
        mlflow.sklearn.save_model(
            model,
            str(self.saved),
            signature=infer_signature(inputs, model.predict(inputs)),
            input_example=inputs.head(3),
            pip_requirements=list(REQUIREMENTS),
        )

    def run(self, *, experiment: str = "", status: str = "FINISHED") -> str:
        """A promoted run without a model; "RUNNING" is left open."""
        run_id = str(
            self.client.create_run(experiment or self.experiment, tags={"promote": "true"}).info.run_id
        )
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id

    def model(self, run_id: str, directory: Path | None, *, experiment: str = "", ready: bool = True) -> None:
        """Log this directory as a model of the run; None logs no file."""
        model = self.client.create_logged_model(
            experiment or self.experiment, name="model", source_run_id=run_id
        )
        if directory is not None:
            self.client.log_model_artifacts(model.model_id, str(directory))
        if ready:
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    def changed(self, name: str, change: Callable[[Path], object], *, experiment: str = "") -> str:
        """A run with a copy of the model that `change` was let loose on."""
        copy = self.directory / name
        shutil.copytree(self.saved, copy)
        change(copy)
        run_id = self.run(experiment=experiment)
        self.model(run_id, copy, experiment=experiment)
        return run_id


def main(uri: str, directory: Path) -> dict[str, str]:
    """Every run by the name that the tests use."""
    log = Logger(uri, directory)
    log.save()
    ids = {status.lower(): log.run(status=status) for status in ("FAILED", "KILLED", "RUNNING")}
    ids["no-model"] = log.run()
    ids["pending"] = log.run()
    log.model(ids["pending"], None, ready=False)
    ids["two-models"] = log.run()
    log.model(ids["two-models"], log.saved)
    log.model(ids["two-models"], log.saved)
    ids["no-files"] = log.run()
    log.model(ids["no-files"], None)
    ids["no-estimator"] = log.changed(
        "no-estimator", lambda copy: [each.unlink() for each in copy.glob("model.*")]
    )
    ids["broken-mlmodel"] = log.changed(
        "broken-mlmodel", lambda copy: (copy / "MLmodel").write_text("flavors: [\n")
    )
    ids["other-flavor"] = log.changed("other-flavor", other_flavor)
    ids["other-python"] = log.changed("other-python", other_python)
    for name, lines in ASKS_FOR.items():
        ids[name] = log.changed(name, lambda copy, lines=lines: ask_for(copy, lines))
    ids["linked"] = linked(log)
    return ids


def linked(log: Logger) -> str:
    """A run whose files are in a directory that this machine sees, with a link out of it."""
    store = log.directory / "store"
    experiment = log.client.create_experiment("linked", artifact_location=store.as_uri())
    run_id = log.changed("linked", lambda copy: None, experiment=experiment)
    (found,) = store.rglob("MLmodel")
    (found.parent / "hosts").symlink_to("/etc/hosts")
    return run_id


def ask_for(copy: Path, lines: tuple[str, ...]) -> None:
    """Give the model these requirements."""
    (copy / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))


def other_flavor(copy: Path) -> None:
    """Say that the model is one that nothing here can serve: R's, without MLflow's generic flavor."""
    text = (copy / "MLmodel").read_text().replace("  sklearn:\n", "  crate:\n")
    (copy / "MLmodel").write_text(text.replace("  python_function:\n", "  rfunc:\n"))


def other_python(copy: Path) -> None:
    """Say that the model was logged by a later Python than the base has."""
    for name in ("MLmodel", "python_env.yaml", "conda.yaml"):
        text = (copy / name).read_text()
        (copy / name).write_text(re.sub(r"(python(?:_version)?[:=] ?)3\.\d+\.\d+", r"\g<1>3.14.1", text))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
