"""Change an object when its first user enters, and undo the change when its last user leaves."""

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
    """Temporary changes of objects that several threads may use at once.

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
        """Change an object, or join its current users.

        Args:
            key: identifies the object. prepare: called for the first user; changes the object and returns what undoes
                the change.
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
