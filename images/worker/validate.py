"""
Refuses programs by the rules of the policy, before anything of them runs: advice to their author,
not a wall. What is built at run time (strings that become names, annotations that are evaluated) is
beyond what the text shows, and the container is made to bear it.

The whole of it takes time in proportion to the text, walks the tree without recursion, and leaves
what the parser cannot read to the parser's own limits.
"""

from __future__ import annotations

import _ast
import sys

from . import ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Finding = tuple[int, int, str, str]  # line, column, which message, the name in it
    Groups = dict[type, list[Any]]

AST_ONLY = 0x400

# CPython's own default. Its parser is safe from any text with it, but not with what an earlier run
# of a kept worker may have set.
RECURSION_LIMIT = 1000

SHOWN_MAX = 200  # characters of a name in a message
NESTED = "too many levels of nesting"

# Fields of nodes that never are nodes themselves.
PLAIN = frozenset(
    "arg asname attr conversion id is_async kind kwd_attrs level module name rest simple "
    "type_comment".split()
)

IMPORTERS = ("__import__", "importlib.import_module", "importlib.__import__")
CHAIN_MAX = 16  # a.b.c…: longer ones are no function that a rule would name

PATH_WORDS = ("file", "path", "filename")
WRITE_LETTERS = frozenset("wax+")


class Rules:
    """The META "validation" of a run, as orchestrator/policy/validation.c writes it."""

    def __init__(self, rules: dict[str, Any], modules: Iterable[str], work_dir: str) -> None:
        imports = rules.get("imports", {})
        self.sizes = [int(rules.get(key, 0)) for key in ("bytes", "characters", "nodes", "depth")]
        self.refuses_empty = not rules.get("empty", True)
        self.refuses_errors = not rules.get("unparsed", True)
        self.relative = bool(rules.get("relative", True))
        self.dynamic = bool(rules.get("dynamic", True))
        self.allow = set(imports.get("allow", ()))
        self.block = set(imports.get("block", ()))
        self.allows_all = not self.allow or "*" in self.allow
        self.allow.update(modules)
        self.longest = 1 + max((n.count(".") for n in self.allow | self.block), default=0)
        self.names = set(rules.get("names", ()))
        self.attributes = set(rules.get("attributes", ()))
        self.calls = dict(call.rstrip(")").partition("(")[::2] for call in rules.get("calls", ()))
        self.messages = rules.get("messages", {})
        self.work_dir = work_dir

    def permits(self, module: str) -> bool:
        """The longest name that covers the module decides."""
        parts = module.split(".", self.longest)[: self.longest]
        for n in range(len(parts), 0, -1):
            name = ".".join(parts[:n])
            if name in self.block:
                return False
            if name in self.allow:
                return True
        return self.allows_all

    def refusal(self, kind: str, **parts: object) -> ending.Refused:
        text = str(self.messages.get(kind, kind))
        for key, part in parts.items():
            text = text.replace("{" + key + "}", str(part))
        return ending.Refused(text)


def modules_of(tools: dict[str, Any]) -> list[str]:
    """The modules of the META "tools": a program may always import them."""
    return [str(module["name"]) for module in tools.get("modules", ())]


def check(source: str, filename: str, flags: int, rules: Rules) -> _ast.Module:
    """
    The program's tree; raises Refused, or what the parser raised where the rules leave that to the
    program.
    """
    max_bytes, max_characters, max_nodes, max_depth = rules.sizes
    if rules.refuses_empty and not source.strip():
        raise rules.refusal("empty")
    if max_bytes and len(source) * 4 > max_bytes:
        count = len(source.encode("utf-8", "surrogatepass"))
        if count > max_bytes:
            raise rules.refusal("bytes", n=count, m=max_bytes)
    if max_characters and len(source) > max_characters:
        raise rules.refusal("characters", n=len(source), m=max_characters)
    tree = parse(source, filename, flags, rules)
    groups, depth = walk(tree)
    if max_nodes:
        count = sum(map(len, groups.values()))
        if count > max_nodes:
            raise rules.refusal("nodes", n=count, m=max_nodes)
    if max_depth and depth > max_depth:
        raise rules.refusal("depth", n=depth, m=max_depth)
    for stage in (imports, identifiers, calls):
        first = min(stage(groups, rules), default=None)
        if first is not None:
            line, _, kind, name = first
            root = name.partition(".")[0]
            raise rules.refusal(kind, root=root[:SHOWN_MAX], line=line, x=name[:SHOWN_MAX])
    return tree


def parse(source: str, filename: str, flags: int, rules: Rules) -> _ast.Module:
    limit = sys.getrecursionlimit()
    if limit != RECURSION_LIMIT:
        sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        return compile(source, filename, "exec", flags | AST_ONLY, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if not rules.refuses_errors:
            raise
        line = getattr(error, "lineno", None) or 1
        message = getattr(error, "msg", None) or error
    except Exception:
        # The parser or the tree's makers have reached their depth. Compiling the text once more
        # might just succeed, unseen; so it is refused in any case.
        line, message = 1, NESTED
    finally:
        if limit != RECURSION_LIMIT:
            sys.setrecursionlimit(limit)
    raise rules.refusal("parse", line=line, msg=message)


def walk(tree: _ast.Module) -> tuple[Groups, int]:
    """All nodes by their type, and how many levels of them there are."""
    groups: Groups = {}
    fields: dict[type, tuple[str, ...]] = {_ast.Constant: ()}
    depth, level = 0, [tree]
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            kind = type(node)
            try:
                groups[kind].append(node)
            except KeyError:
                groups[kind] = [node]
                fields.setdefault(kind, tuple(f for f in kind._fields if f not in PLAIN))
            for name in fields[kind]:
                part = getattr(node, name)
                if type(part) is list:
                    below += [item for item in part if isinstance(item, _ast.AST)]
                elif isinstance(part, _ast.AST):
                    below.append(part)
        level = below
    return groups, depth


# ---- imports ----


def imports(groups: Groups, rules: Rules) -> Iterator[Finding]:
    for node in groups.get(_ast.Import, ()):
        for alias in node.names:
            if not rules.permits(alias.name):
                yield alias.lineno, alias.col_offset, "import", alias.name
    for node in groups.get(_ast.ImportFrom, ()):
        if node.level:
            if not rules.relative:
                yield node.lineno, node.col_offset, "relative", node.module or ""
            continue
        for alias in node.names:
            name = node.module if alias.name == "*" else f"{node.module}.{alias.name}"
            if not rules.permits(name):
                shown = name if rules.permits(node.module) else node.module
                yield node.lineno, node.col_offset, "from", shown


# ---- names ----


def names_of(node: Any) -> Iterable[str]:
    """
    The variables that a node reads, binds or deletes. Parameters, functions, classes and what an
    import binds may be called as they like: whoever uses them needs a Name.
    """
    kind = type(node)
    if kind is _ast.Name:
        return (node.id,)
    if kind is _ast.Global or kind is _ast.Nonlocal:
        return node.names
    if kind is _ast.MatchMapping:
        return (node.rest,)
    return (node.name,)


def attributes_of(node: Any) -> Iterable[str]:
    """What a node takes out of an object: `from x import y` and patterns do so as well."""
    kind = type(node)
    if kind is _ast.Attribute:
        return (node.attr,)
    return node.kwd_attrs if kind is _ast.MatchClass else (node.name,)


VARIABLES = (
    _ast.Name, _ast.Global, _ast.Nonlocal, _ast.ExceptHandler,
    _ast.MatchAs, _ast.MatchStar, _ast.MatchMapping,
)  # fmt: skip


def identifiers(groups: Groups, rules: Rules) -> Iterator[Finding]:
    if rules.names:
        for kind in VARIABLES:
            for node in groups.get(kind, ()):
                for name in names_of(node):
                    if name in rules.names:
                        yield node.lineno, node.col_offset, "name", name
    if rules.attributes:
        for kind in (_ast.Attribute, _ast.MatchClass, _ast.alias):
            for node in groups.get(kind, ()):
                for name in attributes_of(node):
                    if name in rules.attributes:
                        # All of a chain begin at the same place.
                        yield node.end_lineno, node.end_col_offset, "attribute", name


# ---- calls ----


def calls(groups: Groups, rules: Rules) -> Iterator[Finding]:
    found = groups.get(_ast.Call)
    if not found:
        return
    aliases = aliases_of(groups)
    for node in found:
        name = dotted(node.func, aliases)
        kind, shown = None, name
        if name in IMPORTERS:
            kind, shown = imported(node, rules)
        if kind is None and is_refused(node, name, rules):
            kind = "call"
            shown = name or "." + node.func.attr
        if kind is not None:
            yield node.lineno, node.col_offset, kind, shown


def aliases_of(groups: Groups) -> dict[str, str]:
    """What the imports of the program call things that have another name where they come from."""
    aliases = {}
    for node in groups.get(_ast.Import, ()):
        aliases.update((one.asname, one.name) for one in node.names if one.asname)
    for node in groups.get(_ast.ImportFrom, ()):
        if not node.level:
            for one in node.names:
                aliases[one.asname or one.name] = f"{node.module}.{one.name}"
    return aliases


def dotted(node: Any, aliases: dict[str, str]) -> str:
    """`os.system` for what is called so, in the words of the modules; "" for anything else."""
    parts: list[str] = []
    while type(node) is _ast.Attribute and len(parts) < CHAIN_MAX:
        parts.append(node.attr)
        node = node.value
    if type(node) is not _ast.Name:
        return ""
    parts.append(aliases.get(node.id, node.id))
    name = ".".join(reversed(parts))
    for prefix in ("builtins.", "__builtins__."):
        name = name.removeprefix(prefix)
    return name


def imported(node: Any, rules: Rules) -> tuple[str | None, str]:
    """A call that imports: what is wrong with it, and the module."""
    name = argument(node, 0, ("name",))
    if type(name) is not str:
        return (None if rules.dynamic else "dynamic"), ""
    if name.startswith("."):
        return (None if rules.relative else "relative"), name
    return (None if rules.permits(name) else "import"), name


def argument(node: Any, position: int, words: tuple[str, ...]) -> object:
    """The argument's value where it stands there as a literal; else None."""
    given = None
    if position < len(node.args):
        given = node.args[position]
        if any(type(arg) is _ast.Starred for arg in node.args[: position + 1]):
            return None
    for keyword in node.keywords:
        if keyword.arg in words:
            given = keyword.value
    return given.value if type(given) is _ast.Constant else None


def is_refused(node: Any, name: str, rules: Rules) -> bool:
    """A rule is NAME or *.METHOD, with the condition that its brackets hold."""
    when = rules.calls.get(name)
    position = 0
    if when is None and type(node.func) is _ast.Attribute:
        when = rules.calls.get("*." + node.func.attr)
        position = -1  # path.open("w"): the path stands before the dot
    if when is None:
        return False
    if "write" in when:
        mode = argument(node, position + 1, ("mode",))
        if type(mode) is not str or WRITE_LETTERS.isdisjoint(mode):
            return False
    return "outside" not in when or is_outside(argument(node, 0, PATH_WORDS), rules.work_dir)


def is_outside(path: object, work_dir: str) -> bool:
    import posixpath

    if type(path) is not str:
        return False
    whole = posixpath.normpath(posixpath.join(work_dir, path))
    return whole != work_dir and not whole.startswith(work_dir + "/")
