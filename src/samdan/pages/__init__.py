"""Local pages: what every page that samdan serves has in common."""
