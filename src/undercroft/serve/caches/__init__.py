"""Answers that were given before: `answers.Answers` is what the path asks.

To the very same question (`cache`), also of other gateways (`shared`), and to one that asks the
same in other words (`alike`, under the rules of `sense`).
"""
