"""Signatures are checked while the tests run: an import hook that wraps the functions of `vitseg`.

It checks what jaxtyping's own hook (`install_import_hook`) would check, at a fraction of the time: a function without
shapes gets no wrapper that counts axes, and arguments are looked at once in a call instead of twice.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source, decode_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, get_type_hints
from unittest.mock import patch

import jaxtyping
import torch
from beartype import beartype
from jaxtyping import jaxtyped

SHAPED = re.compile(r"\b(Float|Int|UInt|Integer|Bool|Num|Shaped)\d*\[")
ONE_CALL = jaxtyped("context")
"""Within it an axis of one name has one size."""


def install(whole: Collection[str], shapes: Collection[str]) -> None:
    """Check the signatures of modules that are imported from now on.

    Args:
        whole: Modules and packages of `vitseg` whose signatures are checked whole.
        shapes: Those of whose signatures the shapes alone are; other arguments are whatever they are.
    """
    checks = dict.fromkeys(shapes, "check_shapes") | dict.fromkeys(whole, "check_whole")
    sys.meta_path.insert(0, _Finder(checks))


def check_whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, all of whose arguments and results are checked on every call."""
    return _checked(function, _hints(function))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose tensors and arrays are checked on every call."""
    return _checked(function, {n: h for n, h in _hints(function).items() if _is_shaped(h)})


def check_fields(check: str) -> Callable[[type], type]:
    """A decorator of dataclasses, whose fields are checked when they are made."""

    def decorate(cls: type) -> type:
        cls.__init__ = globals()[check](cls.__init__)  # pyright: ignore[reportAttributeAccessIssue]
        return cls

    return decorate


def _is_shaped(hint: Any) -> bool:
    return SHAPED.search(str(hint)) is not None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as objects, without those that name what is imported for types alone."""
    found = {}
    for name, hint in function.__annotations__.items():
        holder = type("holder", (), {"__annotations__": {name: hint}})
        try:
            found |= get_type_hints(holder, function.__globals__, include_extras=True)
        except Exception:  # such as a NameError: then it can be anything
            continue
    return found


def _checked(function: Callable[..., Any], hints: dict[str, Any]) -> Callable[..., Any]:
    if not hints:
        return function
    is_shaped = any(map(_is_shaped, hints.values()))
    every = function.__annotations__
    function.__annotations__ = hints
    try:
        runs_behind = is_shaped and inspect.isgeneratorfunction(function)  # the end of its call
        checked = jaxtyped(function, typechecker=beartype) if runs_behind else beartype(function)
    finally:
        function.__annotations__ = every
    is_counted = is_shaped and not runs_behind

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if torch.compiler.is_compiling() or jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        with ONE_CALL if is_counted else nullcontext():
            return checked(*args, **kwargs)

    return wrapped


class _Marker(ast.NodeTransformer):
    """Puts a check on every function that has annotations, and on every dataclass.

    A check is the innermost decorator: what others return may have no annotations any more.
    """

    def __init__(self, check: str):
        self.check = check

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        place = next(
            (
                number
                for number, part in enumerate(node.body)
                if not isinstance(part, ast.Expr)  # the docstring
                and not (isinstance(part, ast.ImportFrom) and part.module == "__future__")
            ),
            len(node.body),
        )
        node.body.insert(place, ast.Import([ast.alias(__name__, "__checks__")]))
        return ast.fix_missing_locations(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        if node.returns or any(part and part.annotation for part in arguments):
            node.decorator_list.append(_expression(f"__checks__.{self.check}", node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            fields = _expression(f"__checks__.check_fields({self.check!r})", node)
            node.decorator_list.insert(0, fields)
        return node


def _expression(code: str, place: ast.stmt) -> ast.expr:
    expression = ast.parse(code, mode="eval").body
    for part in ast.walk(expression):
        ast.copy_location(part, place)
    return expression


class _Loader(SourceFileLoader):
    """A module whose source is marked before it is compiled."""

    def __init__(self, name: str, path: str, check: str):
        super().__init__(name, path)
        self.check = check

    def get_code(self, fullname: str) -> CodeType | None:
        # The compiled code is kept beside that of a plain import, by a name that changes with this file.
        name = hashlib.sha256(Path(__file__).read_bytes() + self.check.encode()).hexdigest()[:16]
        keep = functools.partial(cache_from_source, optimization=name)
        with patch("importlib._bootstrap_external.cache_from_source", keep):
            return super().get_code(fullname)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        tree = _Marker(self.check).visit(ast.parse(decode_source(data), path))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class _Finder(MetaPathFinder):
    """Finds the modules of `vitseg` that are to be checked.

    Args:
        checks: Name of the check by module or package of `vitseg`.
    """

    def __init__(self, checks: dict[str, str]):
        self.checks = checks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        check = self.checks.get(rest.partition(".")[0]) if package == "vitseg" else None
        if check is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, check)
        return spec
