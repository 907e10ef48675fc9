"""The one room that imports MLflow: from a reference to a promoted run, and to its model's files."""

from runbake.tracking._door import MLFLOW_DEFAULTS, use_mlflow_defaults
from runbake.tracking.reference import ByExperiment, RunRef
from runbake.tracking.run import (
    Change,
    DatasetInput,
    FetchedFile,
    FetchedModel,
    Flavor,
    Metric,
    ModelDescription,
    ModelFile,
    NotedPromotion,
    PromotedFacts,
    PromotedRun,
    PromotedSummary,
    Promotion,
    RegisteredVersion,
    RunFacts,
    RunRecord,
)
from runbake.tracking.tracking import Tracking

__all__ = [
    "ByExperiment",
    "Change",
    "DatasetInput",
    "FetchedFile",
    "FetchedModel",
    "Flavor",
    "MLFLOW_DEFAULTS",
    "Metric",
    "ModelDescription",
    "ModelFile",
    "NotedPromotion",
    "PromotedFacts",
    "PromotedRun",
    "PromotedSummary",
    "Promotion",
    "RegisteredVersion",
    "RunFacts",
    "RunRecord",
    "RunRef",
    "Tracking",
    "use_mlflow_defaults",
]
