"""The label file that the image carries, and what is shown of it."""
