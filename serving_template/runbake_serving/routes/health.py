"""Is it there, is it ready, which MLflow wrote the model: MLflow's own three questions."""

from __future__ import annotations

from fastapi import FastAPI, Response

from runbake_serving.service import JSON, Service


def add_health(app: FastAPI, service: Service) -> None:
    """Add /ping, /health and /version."""
    version_text = service.model.mlflow_version

    async def ping() -> Response:
        """The model is loaded."""
        # Byte for byte MLflow's answer, though a line's end is no JSON: SageMaker and load balancers look at
        # the status alone, and who compares bodies compares them with MLflow's.
        return Response("\n", media_type=JSON)

    async def version() -> Response:
        """The MLflow version that wrote the model."""
        return Response(version_text, media_type="text/plain")

    app.get("/ping")(ping)
    app.get("/health")(ping)
    app.get("/version")(version)
