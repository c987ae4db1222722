"""Using features: what was committed is what you get, one image without the others, never a cluster."""
