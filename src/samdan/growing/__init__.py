"""Growing a base: what a recipe can say about a larger vocabulary, more layers, and merging."""
