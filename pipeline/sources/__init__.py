"""Where images come from: listing is repeatable (same input, same refs, same order), and nothing is decoded."""
