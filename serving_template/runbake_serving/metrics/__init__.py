"""What /metrics tells: figures of all workers in shared memory, and their text for Prometheus."""
