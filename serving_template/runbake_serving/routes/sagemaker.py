"""What SageMaker's batch transform asks before it sends a file: how much at once, and how many at a time.

Its other two questions, /ping and /invocations, are MLflow's own.

Source: Amazon SageMaker, "Use your own inference code with batch transform".
"""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request, Response

from runbake_serving.service import JSON, Service
from runbake_serving.settings import Settings

_MOST_TOGETHER_MB = 100
"""SageMaker's bound of payload times concurrency."""
_PAYLOAD_MB = 6
"""SageMaker's own default: larger ones take longer than a deadline leaves them."""


def execution_parameters_of(settings: Settings, *, joins_rows: bool) -> dict[str, int | str]:
    """The answer: as many requests at a time as predictions run, each within the limit of a body.

    Several records in one request only where the model looks at each row alone.
    """
    payload_mb = max(1, min(_PAYLOAD_MB, settings.body_limit_bytes // 1_048_576))
    at_a_time = (settings.workers or 1) * settings.threads
    return {
        "MaxConcurrentTransforms": max(1, min(at_a_time, _MOST_TOGETHER_MB // payload_mb)),
        "BatchStrategy": "MULTI_RECORD" if joins_rows else "SINGLE_RECORD",
        "MaxPayloadInMB": payload_mb,
    }


def add_sagemaker(app: FastAPI, service: Service) -> None:
    """Add /execution-parameters."""
    joins_rows = service.model.rules.rows_may_be_joined
    answer = orjson.dumps(execution_parameters_of(service.settings, joins_rows=joins_rows))

    async def execution_parameters(_: Request) -> Response:
        """How a batch transform is to ask."""
        return Response(answer, media_type=JSON)

    app.get("/execution-parameters")(execution_parameters)
