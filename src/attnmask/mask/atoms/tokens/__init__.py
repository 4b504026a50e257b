"""Atoms that depend on which tokens there are: padding, documents, spans, shared prefixes, global tokens."""
