"""What provenance costs: at a build, and when an image is verified."""
