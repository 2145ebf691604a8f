"""Who may ask now, in which order, and for how much; what gives way when there is too much.

In come claims (`claim`); out go places in a `line`, tokens of `budgets`, and verdicts about
replicas and load: `pace`, `limiter`, `breaker`, `recent`, `ladder`. Nothing here waits or does I/O;
`pools` does, and asks here.
"""
