"""Features to other systems: made beside a feature set, which is only read, and marked with the run they are of."""
