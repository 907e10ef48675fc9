"""Offline batch: files in, files out, through the model's one `predict`; every row accounted for.

    spec ─► source ─► plan ─► workers ─► commit ─► manifest
    (what)  (files)   (parts) (rows)     (records) (the sum)

`spec` and `plan` are pure; `run` tells the story in order. Nothing here knows of requests or servers.
"""
