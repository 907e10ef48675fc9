"""What the toolkit and the image agree on: versions, paths, keys, settings.

Standard library only: the toolkit imports this module, and nothing else of the runtime.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

VERSION: Final = "0.1.0"
__version__ = VERSION

RUNTIME_REQUIREMENTS: Final = (
    "fastapi>=0.115",
    "httptools>=0.6.3",
    "Jinja2>=3.1",
    "numpy>=1.26",
    "orjson>=3.10",
    "pandas>=2.2",
    "pydantic>=2.9",
    "PyYAML>=6",
    "uvicorn>=0.34",
)
"""What the serving runtime itself needs, beside the model's requirements."""

ADDITIONS: Final = MappingProxyType({"arrow": ("pyarrow>=15",), "s3": ("boto3>=1.36",)})
"""What an image may have beside, by the name that `containerize --with` takes. "arrow": Parquet and Arrow
bodies, and the same files in batch jobs. It is a quarter of the image; a server that is asked in JSON needs
none of it. "s3": batch jobs that read or write `s3://`; 1.36 knows conditional writes."""

RUNTIME_LOCK_DATE: Final = "2026-11-20T00:00:00Z"
"""The runtime's requirements are resolved as of this moment: the tool's release."""

# --- where things are in the image ---------------------------------------------------------------------

SITE_PACKAGES: Final = "/opt/runbake/site-packages"
"""Every locked wheel, installed."""

RUNTIME_ROOT: Final = "/opt/runbake/runtime"
"""The directory that holds the package `runbake_serving`."""

MODEL_ROOT: Final = "/opt/ml/model"
"""The MLflow model directory (also where SageMaker looks)."""

PROVENANCE_FILE: Final = "/opt/runbake/provenance.json"
"""The label file."""

PORT: Final = 8080
"""SageMaker's port, and ours."""

USER_ID: Final = 10001
"""The non-root user and group of the image; numeric, so that Kubernetes' runAsNonRoot can check it."""

# --- exit statuses of `serve` -----------------------------------------------------------------------------

CRASHED: Final = 70
"""A worker failed, or the server gave up because its workers keep failing."""
OVERRAN: Final = 71
"""After SIGTERM requests were cut off, because the grace time was over."""
NOT_READY: Final = 72
"""The model fails at its own example: another worker would fail likewise."""

# --- exit statuses of `batch` -----------------------------------------------------------------------------

BATCH_COMPLETE: Final = 0
"""Every row of the input has a row in the output, and the manifest is written."""
BATCH_REJECTS: Final = 73
"""Complete, and the manifest is written; some rows were rejected, within `--max-rejects`."""
BATCH_FAILED: Final = 74
"""Something must be changed first: an input, an output or the model is unusable, or too many rows were
rejected. What was committed stays, and the same command continues."""
BATCH_INCOMPLETE: Final = 75
"""Stopped, or parts are missing: the same command continues. Worth a retry (sysexits' EX_TEMPFAIL)."""
BATCH_BAD_SPEC: Final = 78
"""The job cannot be read, or is another one than the output was begun with; nothing was done."""

# --- files of a batch job's output -------------------------------------------------------------------------

BATCH_JOB_SCHEMA: Final = "https://runbake.dev/schema/batch-job/v1"
BATCH_PLAN_SCHEMA: Final = "https://runbake.dev/schema/batch-plan/v1"
BATCH_RECORD_SCHEMA: Final = "https://runbake.dev/schema/batch-part/v1"
BATCH_MANIFEST_SCHEMA: Final = "https://runbake.dev/schema/batch-manifest/v1"
BATCH_PLAN: Final = "_PLAN.json"
BATCH_MANIFEST: Final = "_MANIFEST.json"
BATCH_RECORDS: Final = "_parts"
"""Folder of the records of committed parts: `<part id>.json`."""
BATCH_REJECTED: Final = "_rejects"
"""Folder of rejected rows: `<part id>.jsonl`, for parts that have any."""

# --- environment variables of the runtime --------------------------------------------------------------

ENV_MODEL_ROOT: Final = "RUNBAKE_MODEL"
ENV_PROVENANCE: Final = "RUNBAKE_PROVENANCE"
ENV_HOST: Final = "RUNBAKE_HOST"
ENV_PORT: Final = "RUNBAKE_PORT"
ENV_WORKERS: Final = "RUNBAKE_WORKERS"
ENV_DATAFRAME_PATH: Final = "RUNBAKE_DATAFRAME_PATH"
"""`always` hands every flavor a DataFrame, `auto` (default) lets the flavor's fixed rule decide."""
ENV_PAGE: Final = "RUNBAKE_PAGE"
"""`off` removes the model page and `/provenance`."""
ENV_TRACKING_URL: Final = "RUNBAKE_TRACKING_URL"
"""Address of the MLflow server for people; the model page links to the run there."""
ENV_TRUSTED_TYPES: Final = "RUNBAKE_TRUSTED_TYPES"
"""Types that a skops file may hold beside those that skops knows; separated by commas. Whoever builds the
image says so (`--trust-type`), never the model."""
ENV_UDS: Final = "RUNBAKE_UDS"
"""Path of a Unix socket to serve on, instead of host and port."""
ENV_THREADS: Final = "RUNBAKE_THREADS"
"""Predictions that one worker runs at the same time."""
ENV_GRACE_S: Final = "RUNBAKE_GRACE_S"
"""Seconds that requests in flight get to finish after SIGTERM."""
ENV_BODY_LIMIT: Final = "RUNBAKE_BODY_LIMIT"
"""Largest request body in bytes."""
ENV_BODY_TIMEOUT_S: Final = "RUNBAKE_BODY_TIMEOUT_S"
"""Seconds in which a caller must send a request, and take some of an answer."""
ENV_CONNECTIONS: Final = "RUNBAKE_CONNECTIONS"
"""Connections that one worker holds open; more are answered 503 and closed."""
ENV_DEADLINE_S: Final = "RUNBAKE_DEADLINE_S"
"""Seconds in which a request that was read is answered, else 504."""
ENV_JOIN_BYTES: Final = "RUNBAKE_JOIN_BYTES"
"""Bodies of so many bytes together are predicted in one call at most."""
ENV_JOIN_ROWS: Final = "RUNBAKE_JOIN_ROWS"
"""Rows of several requests that are predicted in one call at most; 1 joins none."""
ENV_IMAGE_DIGEST: Final = "RUNBAKE_IMAGE_DIGEST"
"""The image's own digest, which only those outside know; every answer then names it."""
ENV_KEEP_ALIVE_S: Final = "RUNBAKE_KEEP_ALIVE_S"
"""Seconds that an idle connection is kept open."""
ENV_PROBE: Final = "RUNBAKE_PROBE"
"""Path of a Unix socket beside host and port, which others may share: here this very server answers."""
ENV_QUEUE: Final = "RUNBAKE_QUEUE"
"""Requests that one worker holds at the same time; more are answered 503."""
ENV_QUEUE_BYTES: Final = "RUNBAKE_QUEUE_BYTES"
"""Bytes of bodies that one worker holds at the same time; more are answered 503."""

ENV_REUSE_PORT: Final = "RUNBAKE_REUSE_PORT"
"""`on` lets another server of the same user have the same port, so that one can take over from the other."""

SETTINGS: Final = (
    ENV_BODY_LIMIT,
    ENV_BODY_TIMEOUT_S,
    ENV_CONNECTIONS,
    ENV_DATAFRAME_PATH,
    ENV_DEADLINE_S,
    ENV_GRACE_S,
    ENV_HOST,
    ENV_IMAGE_DIGEST,
    ENV_JOIN_BYTES,
    ENV_JOIN_ROWS,
    ENV_KEEP_ALIVE_S,
    ENV_MODEL_ROOT,
    ENV_PAGE,
    ENV_PORT,
    ENV_PROBE,
    ENV_PROVENANCE,
    ENV_QUEUE,
    ENV_QUEUE_BYTES,
    ENV_REUSE_PORT,
    ENV_THREADS,
    ENV_TRACKING_URL,
    ENV_TRUSTED_TYPES,
    ENV_UDS,
    ENV_WORKERS,
)
"""Every environment variable that the runtime reads; any other `RUNBAKE_…` is an error."""

# --- labels and annotations ----------------------------------------------------------------------------

LABEL_NAMESPACE: Final = "dev.runbake."
LABEL_RUN_ID: Final = "dev.runbake.run-id"
LABEL_RUN_NAME: Final = "dev.runbake.run-name"
LABEL_EXPERIMENT: Final = "dev.runbake.experiment"
LABEL_MODEL_ID: Final = "dev.runbake.model-id"
LABEL_MODEL_NAME: Final = "dev.runbake.model-name"
LABEL_MODEL_VERSION: Final = "dev.runbake.model-version"
LABEL_FLAVOR: Final = "dev.runbake.flavor"
LABEL_PYTHON: Final = "dev.runbake.python"
LABEL_LOCK_DIGEST: Final = "dev.runbake.lock-digest"
LABEL_PROVENANCE_DIGEST: Final = "dev.runbake.provenance-digest"
LABEL_TOOL_VERSION: Final = "dev.runbake.tool-version"
LABEL_CODEC: Final = "dev.runbake.codec"

# --- response headers ----------------------------------------------------------------------------------

HEADER_RUN_ID: Final = "X-Runbake-Run-Id"
HEADER_MODEL_VERSION: Final = "X-Runbake-Model-Version"
HEADER_IMAGE: Final = "X-Runbake-Image-Digest"
HEADER_PROVENANCE: Final = "X-Runbake-Provenance-Digest"

PROVENANCE_SCHEMA: Final = "https://runbake.dev/schema/provenance/v1"
"""`schema` of the label file."""
