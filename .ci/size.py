"""Print how large each part is: files, lines, functions, docstrings; then the longest files and functions."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from statistics import median, quantiles

PARTS = ("python", "runtime", "kernels", "export", "zoo", "benchmarks", "csrc", "tests")
NATIVE = (".cpp", ".h", ".inc", ".cu", ".cuh")


def tracked(part: str) -> list[Path]:
    """Source files of a part that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", part], capture_output=True, text=True, check=True
    )
    return [Path(p) for p in listed.stdout.split() if p.endswith((".py", *NATIVE)) and Path(p).exists()]


def functions(tree: ast.AST, path: Path) -> list[tuple[int, str]]:
    """(lines, place) of each function."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}") for node in found]


def docstring_lines(tree: ast.AST) -> int:
    """Lines inside docstrings."""
    total = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            total += (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def main() -> None:
    """Print the tables."""
    print(f"{'part':12} {'files':>5} {'lines':>6} {'median':>6} {'longest':>7} {'fn med':>6} {'fn p90':>6} {'doc':>4}")
    files: list[tuple[int, str]] = []
    every: list[tuple[int, str]] = []
    for part in PARTS:
        lengths, spans, documented = [], [], 0
        for path in tracked(part):
            text = path.read_text()
            lengths.append(text.count("\n"))
            files.append((lengths[-1], str(path)))
            if path.suffix == ".py":
                tree = ast.parse(text)
                spans += functions(tree, path)
                documented += docstring_lines(tree)
        if not lengths:
            continue
        every += spans
        sizes = [size for size, _ in spans]
        shown = (f"{median(sizes):.0f}", f"{quantiles(sizes, n=10)[-1]:.0f}") if len(sizes) > 1 else ("–", "–")
        share = f"{100 * documented / max(sum(lengths), 1):.0f}%"
        figures = f"{median(lengths):6.0f} {max(lengths):7} {shown[0]:>6} {shown[1]:>6} {share:>4}"
        print(f"{part:12} {len(lengths):5} {sum(lengths):6} {figures}")
    for title, rows in (("longest files", files), ("longest functions", every)):
        print(f"\n{title}")
        for size, name in sorted(rows, reverse=True)[:10]:
            print(f"{size:6}  {name}")


if __name__ == "__main__":
    main()
