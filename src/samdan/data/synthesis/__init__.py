"""Synthetic documents: from a knowledge graph by templates, or by a teacher model."""
