"""Imports run one way: the rule, read from the source of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "motionstream"

# The paper's own path: each room may import those before it, and nothing else of the package.
PAPER = ("geometry", "tracks", "diffusion", "vae", "conditioning", "dit", "sampling", "stream")
# What stands beside it: name → what it may import besides the paper's path.
BESIDE = {
    "lpips": set(),
    "tensor_file": set(),
    "client": set(),
    "model_folder": set(),
    "fast": set(),
    "trackers": {"tensor_file"},
    "camera": set(),
    "tiny": {"fast", "model_folder"},
    "wan": {"fast", "model_folder", "tensor_file"},
    "zoo": {"fast", "model_folder", "tiny", "wan"},
    "data": {"trackers", "camera", "wan", "model_folder"},
    "serve": {"zoo"},
}
MODELS = {"fast", "tiny", "wan", "zoo", "model_folder", "lpips", "data"}
BESIDE |= {"train": MODELS, "evaluate": MODELS | {"trackers", "camera", "client"}}
# The program on top: may import everything, is imported by nothing below.
TOP = {"", "__init__", "__main__", "cli", "console", "doctor", "errors", "plan"}
# Large or optional: only imported where they are used. serve/ is the one folder that stands on its packages.
HEAVY = {
    *("av", "cv2", "diffusers", "fastapi", "matplotlib", "msgpack", "pandas", "starlette", "tensorboard"),
    *("torchmetrics", "transformers", "uvicorn", "websockets"),
}
ALLOWED_HEAVY = {"serve": {"av", "fastapi", "msgpack", "starlette", "uvicorn", "websockets"}}


def part_of(path: Path, package: Path) -> str:
    """The layer, user folder or top module that a file belongs to."""
    return path.relative_to(package).with_suffix("").parts[0]


def type_checking_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(tree: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import of a module, with whether it runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_import
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or type_checking_only(node)
        yield from imports(node, at_import and not lazy)


def targets(node: ast.Import | ast.ImportFrom, path: Path, package: Path) -> list[str]:
    """Dotted names that an import statement reaches; `from a import b` counts as a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        folder = ("motionstream", *path.relative_to(package).parent.parts)
        base = ".".join((*folder[: len(folder) - node.level + 1], *filter(None, [node.module])))
    return [f"{base}.{alias.name}" for alias in node.names]


def may_import(part: str, other: str) -> bool:
    if part in TOP or part == other:
        return True
    if part in PAPER:
        return other in PAPER and PAPER.index(other) < PAPER.index(part)
    return other in PAPER or other in BESIDE[part]


def own_part(name: str) -> str | None:
    """The part of our package that a dotted name is in; "" for the package itself; None if it is not ours."""
    head, _, rest = name.partition(".")
    if head != "motionstream":
        return None
    first = rest.partition(".")[0]
    return first if first in {*PAPER, *BESIDE, *TOP} else ""


def violations(package: Path) -> list[str]:
    """One line for each import that breaks the rule, and for each part the rule does not know."""
    found = []
    for path in sorted(package.rglob("*.py")):
        part, where = part_of(path, package), path.relative_to(package)
        if part not in {*PAPER, *BESIDE, *TOP}:
            found.append(f"{where}: no rule says where {part} stands")
            continue
        for node, at_import in imports(ast.parse(path.read_text(encoding="utf-8"))):
            for name in targets(node, path, package):
                other, root = own_part(name), name.partition(".")[0]
                if root == "benchmarks" or (other is not None and not may_import(part, other)):
                    found.append(f"{where}:{node.lineno}: {part} imports {name}")
                if at_import and root in HEAVY - ALLOWED_HEAVY.get(part, set()):
                    found.append(f"{where}:{node.lineno}: {root} is imported with the module")
    return found


def test_the_package_keeps_the_rule() -> None:
    assert violations(PACKAGE) == []


def circle(package: Path) -> list[str]:
    """Modules that import one another in a circle, those for types alone included; empty if there are none."""
    modules = {
        ".".join(("motionstream", *path.relative_to(package).with_suffix("").parts)): path
        for path in package.rglob("*.py")
    }
    names = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {name: _reached(path, package, names) - {name} for name, path in names.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def _reached(path: Path, package: Path, names: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, at any time."""
    found = set()
    for node, _ in imports(ast.parse(path.read_text(encoding="utf-8"))):
        for name in targets(node, path, package):
            module = name if name in names else name.rpartition(".")[0]
            found |= {module} & names.keys()
    return found - {"motionstream"}


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circle(PACKAGE) == []


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "tracks").mkdir()
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        lazily = f"def f():\n    from motionstream.tracks.{other} import x"
        (tmp_path / "tracks" / f"{name}.py").write_text(lazily)
    assert {name.rpartition(".")[2] for name in circle(tmp_path)} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("tracks/a.py", "from motionstream.vae import tiny", "tracks imports motionstream.vae"),
        ("tracks/a.py", "from ..stream import video", "tracks imports motionstream.stream.video"),
        ("tracks/a.py", "def f():\n    import motionstream.serve.app", "tracks imports motionstream.serve"),
        ("dit/a.py", "import motionstream as ms", "dit imports motionstream"),
        ("dit/a.py", "from motionstream import Tracks", "dit imports motionstream.Tracks"),
        ("dit/a.py", "from motionstream import cli", "dit imports motionstream.cli"),
        ("sampling/a.py", "from motionstream.fast import graphed", "sampling imports motionstream.fast"),
        (
            "stream/a.py",
            "def f():\n    from motionstream.tiny.detail import Detail",
            "stream imports motionstream.tiny",
        ),
        ("conditioning/a.py", "from motionstream.wan import umt5", "conditioning imports motionstream.wan"),
        ("tiny/a.py", "from motionstream.wan import umt5", "tiny imports motionstream.wan"),
        ("fast/a.py", "from motionstream.tiny import vae", "fast imports motionstream.tiny"),
        ("train/a.py", "from motionstream.evaluate import motion", "train imports motionstream.evaluate"),
        ("serve/a.py", "from motionstream.data import loader", "serve imports motionstream.data"),
        ("serve/a.py", "from motionstream.client import live", "serve imports motionstream.client"),
        ("stream/a.py", "from motionstream.trackers import registry", "stream imports motionstream.trackers"),
        ("data/a.py", "import motionstream.train", "data imports motionstream.train"),
        ("stream/a.py", "import av", "av is imported with the module"),
        ("evaluate/a.py", "try:\n    import cv2\nexcept ImportError:\n    cv2 = None", "cv2 is imported"),
        ("data/a.py", "class A:\n    from cv2 import remap", "cv2 is imported with the module"),
        ("serve/a.py", "import diffusers", "diffusers is imported"),
        ("extra/a.py", "", "no rule says where extra stands"),
        ("cli/a.py", "def f():\n    from benchmarks import limits", "cli imports benchmarks.limits"),
    ],
)
def test_a_planted_violation_is_named(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert any(complaint in line and file in line for line in violations(tmp_path)), violations(tmp_path)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("vae/a.py", "from motionstream.geometry import Geometry\nfrom .b import c"),
        ("stream/a.py", "def f():\n    import av"),
        ("stream/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import av"),
        ("train/a.py", "from motionstream.data import loader"),
        ("serve/a.py", "import fastapi"),
        ("cli.py", "from motionstream import serve"),
    ],
)
def test_what_the_rule_allows(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path) == []


def test_everything_but_serve_imports_without_the_heavy_packages() -> None:
    """What the source promises also happens: each module is imported where none of them exists."""
    names = [
        ".".join(("motionstream", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if part_of(path, PACKAGE) not in {"serve", "__main__"}
    ]
    program = (
        f"import sys, importlib\nfor name in {sorted(HEAVY)!r}: sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
