"""The demonstration: a small generated world and a tiny model that learns it."""
