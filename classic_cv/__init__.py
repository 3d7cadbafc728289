"""classic-cv."""
