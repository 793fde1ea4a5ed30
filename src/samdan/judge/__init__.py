"""Answers judged side by side: by people on a local page, and by a model behind an endpoint."""
