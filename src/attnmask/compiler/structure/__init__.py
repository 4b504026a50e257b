"""What a set is, read off its runs: windows, documents, padding, prefixes, layouts."""
