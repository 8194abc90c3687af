"""Programs with `await` at the top level, as notebooks allow it."""

from __future__ import annotations

import _ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from types import CodeType

AST_ONLY = 0x400
TOP_LEVEL_AWAIT = 0x2000
FUTURES = 0x1FE0000  # co_flags of `from __future__ import …`
IS_COROUTINE = 0x80

# Methods that start a loop of their own and refuse to within a running one.
STARTERS = ("run", "run_until_complete")


def starts_loops(tree: _ast.Module) -> bool:
    """The program also says asyncio.run(…) or loop.run_until_complete(…) somewhere."""
    todo: list[_ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _ast.Call) and isinstance(node.func, _ast.Attribute):
            if node.func.attr in STARTERS:
                return True
        for field in node._fields:
            part = getattr(node, field, None)
            parts = part if isinstance(part, list) else [part]
            todo += [item for item in parts if isinstance(item, _ast.AST)]
    return False


def statements(code: CodeType, tree: _ast.Module, filename: str) -> list[CodeType]:
    """The program statement by statement, so that only those that await run inside a loop."""
    flags = TOP_LEVEL_AWAIT | (code.co_flags & FUTURES)
    units = []
    for number, statement in enumerate(tree.body):
        body = [statement]
        if number and isinstance(statement, _ast.Expr):
            # A string alone would become the module's docstring.
            place = {"lineno": statement.lineno, "col_offset": statement.col_offset}
            body.insert(0, _ast.Pass(**place, end_lineno=statement.lineno, end_col_offset=0))
        module = _ast.Module(body=body, type_ignores=[])
        units.append(compile(module, filename, "exec", flags, dont_inherit=True))
    return units


def execute(code: CodeType, tree: _ast.Module, filename: str, names: dict[str, object]) -> None:
    """
    Runs the whole program inside one loop, so that asyncio.create_task works between its awaits;
    a program that starts loops of its own as well is run statement by statement instead.
    """
    import asyncio

    units = statements(code, tree, filename) if starts_loops(tree) else [code]
    with asyncio.Runner() as runner:
        for unit in units:
            run_unit(runner, unit, names)


def run_unit(runner: asyncio.Runner, unit: CodeType, names: dict[str, object]) -> None:
    if unit.co_flags & IS_COROUTINE:
        runner.run(eval(unit, names))
    else:
        exec(unit, names)
