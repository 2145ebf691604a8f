"""What training reads: examples or documents, as tokens, in their order."""
