"""Evaluation: scoring by log-likelihood, greedy generation, intervals."""
