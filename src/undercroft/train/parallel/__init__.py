"""Several processes that train one model: who they are, and what each of them holds.

`plan` says how many there are of each kind, `team` how they talk, `placement` which part of every
weight one has. `sharding`, `tensor`, `stages` with `orders` and `pipeline` are the ways to part a
model; `train.arranging` puts them together. Read `plan` first.
"""
