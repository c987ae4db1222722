"""Bytes to tensor: decode, resize, normalise; pure functions whose every failure names the image's fault."""
