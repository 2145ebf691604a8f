"""Trials on live traffic: who gets the canary, what is seen of both arms, shadows."""
