"""What is done to an object while anybody uses it: by the first to come, and undone by the last to leave."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass
class _Use:
    undo: ExitStack
    users: int = 0


class SharedChanges:
    """Uses of objects by several threads at once.

    >>> sharing, undo = SharedChanges(), ExitStack()
    >>> _ = undo.callback(print, "undone")
    >>> with sharing.using("object", lambda: undo.pop_all()):
    ...     with sharing.using("object", lambda: ExitStack()):
    ...         print("used by two")
    ...     print("used by one")
    used by two
    used by one
    undone
    """

    def __init__(self) -> None:
        self._uses: dict[Hashable, _Use] = {}
        self._lock = Lock()

    @contextmanager
    def using(self, key: Hashable, prepare: Callable[[], ExitStack]) -> Generator[None]:
        """Use an object.

        Args:
            key: which. prepare: called by the first; returns what undoes it.
        """
        with self._lock:
            if key not in self._uses:
                self._uses[key] = _Use(prepare())
            self._uses[key].users += 1
        try:
            yield
        finally:
            with self._lock:
                use = self._uses[key]
                use.users -= 1
                if not use.users:
                    del self._uses[key]
                    use.undo.close()
