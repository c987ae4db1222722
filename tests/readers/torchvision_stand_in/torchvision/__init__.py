"""Stands in for torchvision, which there is none of beside this torch: the three transforms that SAM 2 uses."""
