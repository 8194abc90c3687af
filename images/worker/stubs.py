"""Tools as source text: signatures of their functions, and the tree of files with them."""

from __future__ import annotations

import keyword
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INDEX = "index.md"
TOP = "servers"

TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}


class Default:
    """Stands for an argument that was not given. Whoever looks at a signature sees the value."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Default) else other))

    def __hash__(self) -> int:
        return hash(repr(self.value))


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def identifier(name: str) -> str:
    """The name as Python can write it."""
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    if not text.isidentifier():
        text = "_" + text
    return text + "_" if keyword.iskeyword(text) else text


class Parameter:
    def __init__(self, content: dict[str, object]) -> None:
        self.name = str(content.get("name"))
        self.python_name = identifier(self.name)
        self.is_required = bool(content.get("required")) and "default" not in content
        self.default = Default(content.get("default"))
        self.type = TYPES.get(str(content.get("type")), str(content.get("type") or "object"))
        if self.type not in TYPES.values():
            self.type = "object"
        self.doc = " ".join(str(content.get("doc") or "").split())

    def is_left_out(self, value: object) -> bool:
        """None says no more than nothing, where nothing is the default."""
        if value is self.default:
            return True
        return value is None and self.default.value is None and not self.is_required

    def text(self, default: str) -> str:
        is_open = not self.is_required and self.default.value is None
        kind = f"{self.type} | None" if is_open and self.type != "object" else self.type
        return f"{self.python_name}: {kind}" + ("" if self.is_required else f" = {default}")


class Function:
    def __init__(self, module: str, content: dict[str, object]) -> None:
        self.name = str(content.get("name"))
        self.module = module
        self.python_name = identifier(self.name)
        self.full_name = f"{module}.{self.name}"  # as the front knows it
        self.path = f"{module}.{self.python_name}"
        self.doc = str(content.get("doc") or "").strip()
        self.is_strict = bool(content.get("strict"))
        # Of two that Python cannot tell apart the second is left to the other keywords.
        named = {p.python_name: p for p in map(Parameter, _dicts(content.get("parameters"))[::-1])}
        self.parameters = sorted(list(named.values())[::-1], key=lambda p: not p.is_required)
        self.more = "more"
        while self.more in named:
            self.more += "_"

    def arguments(self, given: dict[str, object]) -> dict[str, object]:
        """What is sent, of the local variables of a call."""
        args = dict(_dict(given.get(self.more)))
        for parameter in self.parameters:
            value = given[parameter.python_name]
            if not parameter.is_left_out(value):
                args[parameter.name] = value
        return args

    # ---- text ----

    def head(self, defaults: list[str]) -> str:
        texts = [p.text(default) for p, default in zip(self.parameters, defaults)]
        if not self.is_strict:
            texts.append(f"**{self.more}: object")
        return f"def {self.python_name}({', '.join(texts)}) -> object"

    def shown(self) -> str:
        return self.head([repr(parameter.default) for parameter in self.parameters])

    def full_doc(self) -> str:
        lines = [self.doc or f"The tool {self.full_name}."]
        listed = [parameter for parameter in self.parameters if parameter.doc]
        if listed:
            lines += ["", *(f"{parameter.python_name}: {parameter.doc}" for parameter in listed)]
        return "\n".join(lines)

    def first_line(self) -> str:
        return self.full_doc().partition("\n")[0]

    def describe(self) -> str:
        shown = self.shown().replace("def ", f"async def {self.module}.", 1)
        return "\n    ".join([shown, *self.full_doc().split("\n")])

    def source(self) -> str:
        """A file of the tree."""
        return (
            f"from tools import stub\n\n\n@stub({self.path!r})\n"
            f"async {self.shown()}:\n    {quoted(self.full_doc(), '    ')}\n"
        )

    # ---- the function itself ----

    def make(self, is_sync: bool, perform: Callable[..., object]) -> Callable[..., object]:
        """A function that awaits perform(its local variables) -> result, error."""
        start, wait = ("", "") if is_sync else ("async ", "await ")
        defaults = [f"__default_{number}__" for number in range(len(self.parameters))]
        text = (
            f"{start}{self.head(defaults)}:\n"
            f" __answer__ = {wait}__perform__(__locals__())\n"
            " if __answer__[1] is not None: raise __answer__[1]\n"
            " return __answer__[0]\n"
        )
        # Frames of our package are not shown in tracebacks.
        space: dict[str, object] = {"__package__": __package__, "__name__": self.module}
        space |= {name: p.default for name, p in zip(defaults, self.parameters)}
        # Tools and their arguments may have the names of Python's own functions.
        space |= {"__perform__": perform, "__locals__": locals}
        exec(compile(text, f"<tool {self.path}>", "exec", dont_inherit=True), space)
        function = space[self.python_name]
        function.__doc__ = self.full_doc()  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]


class Module:
    def __init__(self, content: dict[str, object]) -> None:
        self.name = str(content.get("name"))
        self.doc = str(content.get("doc") or "").strip()
        functions = [Function(self.name, item) for item in _dicts(content.get("functions"))]
        self.functions = {function.python_name: function for function in functions}

    def source(self) -> str:
        """The module's __init__.py in the tree."""
        doc = quoted(self.doc or f"Tools of the module {self.name}.", "")
        lines = [f"from .{name} import {name}" for name in self.functions]
        return "\n".join([doc, "", *lines, ""])


def read_catalogue(catalogue: dict[object, object]) -> dict[str, Module]:
    modules = [Module(item) for item in _dicts(catalogue.get("modules"))]
    return {module.name: module for module in modules if module.name.isidentifier()}


# ---- the tree ----


def quoted(text: str, indent: str) -> str:
    """As a docstring."""
    if "\\" in text or '"""' in text or text.endswith('"'):
        return repr(text)
    lines = [line and indent + line for line in text.split("\n")]
    return '"""' + "\n".join(lines).strip() + (f"\n{indent}" if len(lines) > 1 else "") + '"""'


def index(modules: dict[str, Module]) -> str:
    lines = ["# Tools", "", "`import MODULE`, then `await MODULE.FUNCTION(...)`;"]
    lines += ["without a loop `MODULE.sync.FUNCTION(...)`.", ""]
    for module in modules.values():
        lines += [f"## {module.name}", "", *([module.doc, ""] if module.doc else [])]
        for function in module.functions.values():
            lines.append(f"- `{function.shown()}`: {function.first_line()}")
        lines.append("")
    return "\n".join(lines)


def tree(modules: dict[str, Module]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Names of the files below the workspace, and what makes their texts."""
    yield INDEX, lambda: index(modules)
    for module in modules.values():
        yield f"{TOP}/{module.name}/__init__.py", module.source
        for name, function in module.functions.items():
            yield f"{TOP}/{module.name}/{name}.py", function.source


def write_tree(workspace: str, modules: dict[str, Module]) -> None:
    """For programs that may open files. Where there is no room for it `tools` knows it all."""
    try:
        for module in modules:
            os.makedirs(os.path.join(workspace, TOP, module), exist_ok=True)
        for name, text in tree(modules):
            write(os.path.join(workspace, name), text().encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def write(path: str, data: bytes) -> None:
    """Every run with tools waits for it: file objects take three times as long."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
