"""The report: one page explains a sealed set by itself, and reaches no network, runs no stranger's code, shows no secret."""
