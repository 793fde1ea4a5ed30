"""Growing a base: tokens that are learned, rows that begin well, weights streamed to disk."""
