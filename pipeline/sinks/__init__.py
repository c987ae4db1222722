"""Arrays to committed files: nothing is visible until committed, and writing the same unit twice is harmless."""
