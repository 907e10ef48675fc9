"""The figures of `runbake containerize`: `python -m benchmarks.containerize`.

One module for each part: `parts` (real servers, a fresh checkout, a venv), `runs` (what is logged to MLflow),
`ours` (the command, timed), `peer` (docker, curl), `figures` (one function each), `table` (Markdown).
"""
