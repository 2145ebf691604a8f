"""Two versions side by side in live traffic: who sees which, and what may be said at any moment.

All statements hold however often they are looked at: `evidence` grows while one version does worse,
`bounds` enclose a difference, a mean or a quantile at all times at once, `assignment` says who is
in which arm and whether the arms fill up as they should, `power` how long it will take. `verdict`
puts them together: go on, promote, or roll back.
"""
