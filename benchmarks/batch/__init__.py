"""Offline batch beside a bare loop and MLflow: `python -m benchmarks.batch`."""
