"""The on-disk contract of a feature set: names, records, column meanings, and the fingerprint that guards it.

Writers (sinks) and readers share this room and nothing else; it never decides when something is written.
"""
