"""The processes of one container: a supervisor that loads, workers that serve."""
