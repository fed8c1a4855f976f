"""How the code reads, in figures: `python -m tests.tree_figures [--offenders] [PATH ..]`.

The same measures of any Python tree, so that Vigil can be put beside others. `tests/test_tree.py`
holds the limits. Tests are not counted.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("vigil", "train", "serve", "drift", "infra", "policies")
MAX_COMPLEXITY = 10
MAX_STATEMENTS = 15
MAX_LINES = 400
MAX_COLUMNS = 100
MAX_NODES_MEDIAN = 35
MAX_TOKENS_A_LINE = 7.0
FMT_SKIP = re.compile(r"#\s*fmt:\s*skip")
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Figures:
    """Figures of one tree; `before` has those that the rebuilding of the house began with."""

    functions: int
    nodes_median: float
    tokens_a_line: float
    long_lines_percent: float
    fmt_skips: int
    packed_assignments: float  # in 1,000 lines of code
    complex_functions: int
    long_functions: int
    long_files: int


# Commit 6c9dea6, by this script.
BEFORE = Figures(
    functions=1964,
    nodes_median=57.0,
    tokens_a_line=9.73,
    long_lines_percent=9.75,
    fmt_skips=257,
    packed_assignments=16.5,
    complex_functions=46,
    long_functions=94,
    long_files=1,
)


def sources(path: Path) -> list[Path]:
    """The Python files below `path` that are no tests."""
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [file for file in found if "tests" not in file.relative_to(path).parts]


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def nodes(function: Function) -> int:
    """AST nodes of the body, as `ast.walk` counts them."""
    return sum(1 for statement in function.body for _ in ast.walk(statement))


def statements(function: Function) -> int:
    """Statements of the body, those of inner functions among them; a docstring is none."""
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return count - (ast.get_docstring(function) is not None)


def complexity(function: Function) -> int:
    """McCabe's, with boolean operators, comprehensions and conditional expressions counted."""
    branches = (
        ast.If,
        ast.IfExp,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.ExceptHandler,
        ast.comprehension,
        ast.match_case,
    )
    count = 1
    for node in ast.walk(function):
        if isinstance(node, branches):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def is_packed(node: ast.AST) -> bool:
    """Whether a statement assigns a tuple of values to a tuple of names; a swap is none."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    target = node.targets[0]
    if not isinstance(target, ast.Tuple):
        return False
    return sorted(map(ast.unparse, target.elts)) != sorted(map(ast.unparse, node.value.elts))


def tokens_by_line(source: str, tree: ast.AST) -> dict[int, int]:
    """Tokens of each line that has code; docstrings are none."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    counts: dict[int, int] = defaultdict(int)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_docstring = token.type == tokenize.STRING and token.start[0] in docstrings
        if token.type not in NO_CODE and not is_docstring:
            counts[token.start[0]] += 1
    return counts


def measure(files: list[Path]) -> Figures:
    texts = [file.read_text() for file in files]
    trees = [ast.parse(text) for text in texts]
    every = [function for tree in trees for function in functions(tree)]
    tokens = [
        count
        for text, tree in zip(texts, trees, strict=True)
        for count in tokens_by_line(text, tree).values()
    ]
    lines = [line for text in texts for line in text.splitlines()]
    packed = sum(is_packed(node) for tree in trees for node in ast.walk(tree))
    return Figures(
        functions=len(every),
        nodes_median=statistics.median(map(nodes, every)) if every else 0.0,
        tokens_a_line=round(statistics.mean(tokens), 2),
        long_lines_percent=round(100 * sum(len(x) > MAX_COLUMNS for x in lines) / len(lines), 2),
        fmt_skips=sum(FMT_SKIP.search(line) is not None for line in lines),
        packed_assignments=round(1000 * packed / len(tokens), 1),
        complex_functions=sum(complexity(one) > MAX_COMPLEXITY for one in every),
        long_functions=sum(statements(one) > MAX_STATEMENTS for one in every),
        long_files=sum(len(text.splitlines()) > MAX_LINES for text in texts),
    )


def offenders(files: list[Path]) -> Iterator[str]:
    """What is over a limit, a line each."""
    for file in files:
        text = file.read_text()
        tree = ast.parse(text)
        if (count := len(text.splitlines())) > MAX_LINES:
            yield f"{file}: {count} lines"
        for one in functions(tree):
            where = f"{file}:{one.lineno}: {one.name}"
            if (count := complexity(one)) > MAX_COMPLEXITY:
                yield f"{where} has a complexity of {count}"
            if (count := statements(one)) > MAX_STATEMENTS:
                yield f"{where} has {count} statements"
        for node in ast.walk(tree):
            if is_packed(node):
                yield f"{file}:{getattr(node, 'lineno', 0)}: more than one assignment"


def public_names(tree: ast.Module) -> set[str]:
    """Functions, classes and constants of a module that other modules may import."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def shared_names(files: list[Path]) -> dict[str, list[Path]]:
    """Public names that more than one module has, with those modules."""
    owners: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        for name in public_names(ast.parse(file.read_text())):
            owners[name].append(file)
    return {name: found for name, found in sorted(owners.items()) if len(found) > 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="default: each room, and all of them")
    parser.add_argument("--offenders", action="store_true", help="what is over a limit")
    parser.add_argument("--names", action="store_true", help="public names that two modules have")
    asked = parser.parse_args()
    rooms = [ROOT / room for room in ROOMS]
    paths = asked.paths or rooms
    if asked.offenders:
        print("\n".join(line for path in paths for line in offenders(sources(path))))
        return
    if asked.names:
        for name, files in shared_names([file for path in rooms for file in sources(path)]).items():
            print(name, *(file.relative_to(ROOT) for file in files))
        return
    columns = {path.name: measure(sources(path)) for path in paths}
    columns["all"] = measure([file for path in paths for file in sources(path)])
    columns["before"] = BEFORE
    print(f"{'':20}" + "".join(f"{name:>12}" for name in columns))
    for field in fields(Figures):
        row = "".join(f"{getattr(one, field.name):>12}" for one in columns.values())
        print(f"{field.name:20}{row}")


if __name__ == "__main__":
    main()
