"""One file for each objective; `undercroft.train.objective` names them."""
