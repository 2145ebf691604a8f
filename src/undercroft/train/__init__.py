"""Examples and a base model in, a trained model out: safetensors, configuration, tokenizer, card.

Or a dataset alone: `pretrain` makes a tokenizer and a model from random weights. `stage` declares
``base`` (get a base model into the project) and ``train``; `loop` is the one training loop, and
`objective` says what a loss must look like to be trained on. Torch is imported only by the modules
that `stage` loads when it runs. Read `loop.py` first.
"""
