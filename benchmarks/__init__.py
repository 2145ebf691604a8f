"""Ours and a peer in one run: ``python -m benchmarks.NAME``.

Each benchmark installs its peer into a virtual environment of its own under ``benchmarks/.peers``,
runs both sides in turn, prints a table, and as its last line one JSON object. `compare` has what
they share.
"""
