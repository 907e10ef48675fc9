"""The application's routes, one page for each protocol; each adds its own to an application.

A page decides how its protocol's bytes become a question and how predictions become bytes; what lies between
is `Service.answer`, the same for all.
"""
