"""Text from outside (file names, models, columns, messages of other code), made safe to print."""

from __future__ import annotations

import unicodedata


def escaped(text: str, *, lines: bool = False) -> str:
    """Text in which every character that a terminal obeys or hides stands as its escape.

    Those are control characters, escape sequences, overrides of the writing direction, and halves of surrogate pairs.

    Args:
        text: any text. lines: whether line ends and tabs stay as they are.

    Returns:
        Text that can be encoded and printed.

    >>> print(escaped("a\\x1b[31m\\u202eb\\n"))
    a\\x1b[31m\\u202eb\\n
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(sign if _is_shown(sign) or sign in kept else ascii(sign)[1:-1] for sign in text)


def _is_shown(sign: str) -> bool:
    # Python calls no space but its own printable; others, such as the ideographic one, are part of texts.
    return sign.isprintable() or unicodedata.category(sign) == "Zs"
