"""Seeing a run: seconds by step, progress, summary; measuring never changes results."""
