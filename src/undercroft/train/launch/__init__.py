"""One training in several processes, which survives the loss of any of them.

    job         what to build, what to read, with which settings: for one process or for many
    crew        starts the ranks, hears what they tell, finds those that died or hang, starts again
    vigil       who hangs, by the signs of life that all give
    signs       those signs, and what the first rank tells, as files in the run's folder
    host        a machine that ranks are started on: this one, by a nursery of its own
    nursery     a process that has imported everything, and forks ranks in milliseconds
    rank        what each of them does
    on_ray      the machines of a Ray cluster as hosts

Read `training` first: it is what the stages call.
"""
