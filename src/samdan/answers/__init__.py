"""What can be said of an answer without a model: checks, quality, overlap, refusals, probes."""
