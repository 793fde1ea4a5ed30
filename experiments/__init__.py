"""The claims behind the defaults, each a recipe and a table."""
