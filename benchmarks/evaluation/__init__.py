"""`runbake evaluate` beside the bare scikit-learn calls that it cannot do without."""
