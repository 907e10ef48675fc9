"""The real parts that the demo, the tests and the benchmarks stand on: started here, stopped here."""
