"""Choosing documents: statistics of the corpus, numbers per document, and the choice."""
