"""One file for each objective; `undercroft.train.objectives.objective` names them."""
