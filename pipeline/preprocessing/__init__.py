"""Bytes to tensor (decode, resize, normalise): pure functions, every failure of which names the image's fault."""
