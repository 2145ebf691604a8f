"""Engines to ask: a `route.Route` names models, each behind a `pool.Pool` of replicas.

In come a route of the ledger and requests for a slot; out come leases of replicas, and what an
engine said (`upstream`).
"""
