"""Where the model comes from."""

from __future__ import annotations

from fastapi import FastAPI, Response

from runbake_serving.label.provenance import Provenance
from runbake_serving.service import JSON


def add_label_file(app: FastAPI, provenance: Provenance) -> None:
    """Add /provenance."""

    async def label_file() -> Response:
        """The label file, byte for byte."""
        return Response(provenance.body, media_type=JSON)

    app.get("/provenance")(label_file)
