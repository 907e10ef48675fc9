"""The OpenAPI document: every route of the application, with the model's own names and types."""
