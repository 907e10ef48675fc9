"""The limit: FastAPI on uvicorn, as fast as it goes, reading the body and answering a constant."""

import os
from pathlib import Path

from fastapi import FastAPI, Request, Response

ANSWER = Path(os.environ["BENCHMARK_ANSWER"]).read_bytes()

app = FastAPI()


@app.get("/ping")
async def ping() -> Response:
    return Response(b"\n")


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    await request.body()
    return Response(ANSWER, media_type="application/json")
