"""Metrics and losses: by name, of the user's own, and those that tasks come with."""
