"""From settings to a run: search, train, evaluate, export, report, in one run directory."""
