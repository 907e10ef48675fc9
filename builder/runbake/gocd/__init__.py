"""The one room that knows GoCD: its variables, API and pipelines, and its plugin's old MLflow."""

from runbake.gocd.invocation import (
    REQUEST_VARIABLE,
    RUN_VARIABLE,
    Invocation,
    JobRun,
    escaped,
    invocation_of,
    job_run,
)
from runbake.gocd.note import Note, note_key, request_of
from runbake.gocd.page import MOST_BYTES, document_page
from runbake.gocd.pipeline import PipelineOrder, Secret, pipeline_yaml
from runbake.gocd.place import Place, place_of, run_built_in
from runbake.gocd.server import Bearer, GocdServer, PipelineRun, session_with
from runbake.gocd.sources import AliasedVersions, Routes, TaggedRuns, wanted_run
from runbake.gocd.watcher import Clock, Pace, Wanted, Watcher, again, pending

__all__ = [
    "AliasedVersions",
    "Bearer",
    "Clock",
    "GocdServer",
    "Invocation",
    "JobRun",
    "MOST_BYTES",
    "Note",
    "Pace",
    "PipelineOrder",
    "PipelineRun",
    "Place",
    "REQUEST_VARIABLE",
    "RUN_VARIABLE",
    "Routes",
    "Secret",
    "TaggedRuns",
    "Wanted",
    "Watcher",
    "again",
    "document_page",
    "escaped",
    "invocation_of",
    "job_run",
    "note_key",
    "pending",
    "pipeline_yaml",
    "place_of",
    "request_of",
    "run_built_in",
    "session_with",
    "wanted_run",
]
