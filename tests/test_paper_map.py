"""docs/paper_map.md stays true: whatever it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (?P<paper>.+?) \| (?P<what>.+) \| (?P<source>`.+?) \| (?P<test>`.+?) \|$", re.M)


def missing(text: str, root: Path) -> list[str]:
    """Files that the rows of a map name and the tree does not have."""
    named = [
        (folder, name)
        for row in ROW.finditer(text)
        for folder, cell in (("src/motionstream", row["source"]), ("tests", row["test"]))
        for name in re.findall(r"`([^`]+)`", cell)
    ]
    assert named, "no row of the map was understood"
    files = [f"{folder}/{name}".replace("src/motionstream/benchmarks/", "benchmarks/") for folder, name in named]
    return [file for file in files if not (root / file).is_file()]


def test_every_file_the_map_names_exists() -> None:
    text = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
    assert len(ROW.findall(text)) >= 20
    assert missing(text, ROOT) == []


def test_a_file_that_moved_is_named(tmp_path: Path) -> None:
    row = "| Sec. 3 | flow, `x` | `diffusion/gone.py` | `test_gone.py` |\n"
    assert missing(row, tmp_path) == ["src/motionstream/diffusion/gone.py", "tests/test_gone.py"]


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document.name}: {target}"
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []
