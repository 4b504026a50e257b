"""The snippets of each guide run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GUIDES = sorted((Path(__file__).parents[1] / "docs" / "guides").glob("*.md"))


# Trainer says that it moves a pin of memory that is not there on a CPU, among other things that are its own.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_snippet_runs(guide: Path) -> None:
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    assert len(snippets) > 5
    for snippet in snippets:
        exec(compile(snippet, guide.name, "exec"), names)


def test_links_of_the_guides_exist() -> None:
    for guide in GUIDES:
        links = re.findall(r"\]\(([^)#:]+)\)", guide.read_text())
        assert all((guide.parent / link).exists() for link in links)
