"""The SAM 2 image encoder in plain PyTorch, how it is configured, and which weights it gets.

Its promise: the same weights and pixels give the same features on any device within the stated tolerance.
"""
