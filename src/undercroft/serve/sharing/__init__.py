"""What the gateways of one project share beside answers: today's budgets, and a trial's outcomes.

`leases` hands out slices of a budget, so that no request waits for a store; `books` are the stores
(Redis, or the ledger); `log` is what all gateways saw of a trial, in one order for all of them.
"""
