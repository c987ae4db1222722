"""The report: a page explains a sealed set by itself, reaches no network, runs no stranger's code and shows no secret.

Its template, style and program are files in `page`.
"""
