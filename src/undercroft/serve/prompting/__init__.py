"""An ask -> the messages that the model reads, with passages and tools explained."""
