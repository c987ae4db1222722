"""Features to other systems: what leaves is what was sealed, and exporting it again is harmless."""
