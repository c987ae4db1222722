"""Names that mean something to a shell, a URL, a pattern or a terminal, and nothing to a store."""

ODD_NAMES = ["a b", "a#b", "a%2Fb", "a+b", "a*b", "a[b]", "a?b", "a\nb", "a😀b", "~a", "a'\"b", "file:a", "-a", "é"]
