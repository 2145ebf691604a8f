"""Examples and a base model in, a trained model out: safetensors, configuration, tokenizer, card.

Or a dataset alone: `pretrain` makes a tokenizer and a model from random weights; or pairs of
answers: `align`. Read `loop` first, the one training loop. Below it stand

    objectives/   what a loss must look like to be trained on, each of them, and penalties
    state/        checkpoints and random numbers: what a run must not lose
    samples/      what is read, as tokens, in its order
    models/       where models come from, how they are made and adapted, how they attend
    parallel/     the processes that train one model (`arranging` lays it over them)

and above it the stages, which bring artifacts in and record what comes out. Torch is imported only
by what the stages load when they run.
"""
