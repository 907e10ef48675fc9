"""Every flavor's image beside `mlflow models serve` on the same model."""
