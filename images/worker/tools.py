"""The tools of a run as Python modules: `import data`, `await data.get_devices()`.

META has a catalogue of them. Each module makes its functions when they are asked for, from the
source that the tree of files shows as well; a call goes to the front, which alone decides about it.
The module `tools` finds tools and reads the tree; it needs no file for that.
"""

from __future__ import annotations

import json
import os
import sys

from . import stubs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from .calls import Calls

    Answer = tuple[object, Exception | None]

KIND = "tool"
WORKSPACE = "MCP_WORKSPACE_DIR"  # in the program's environment
ARGS_MAX = 16 << 20  # bytes; the front's limit is lower and has a better text


class ToolError(Exception):
    """A tool failed, or may not be called."""


ToolError.__module__ = "tools"

# What the front says becomes an exception of this type, anything else a ToolError.
ERRORS: dict[object, type[Exception]] = {
    "PermissionError": PermissionError,
    "TimeoutError": TimeoutError,
    "ValueError": ValueError,
}


def answer(name: str, reply: bytes | str) -> Answer:
    """What a call gives its caller: a result or an exception."""
    if isinstance(reply, str):
        return None, ToolError(f"MCP tool '{name}' connection failed: {reply}")
    content = json.loads(reply)
    error = content.get("error")
    if error is None:
        return content.get("result"), None
    kind = ERRORS.get(error.get("type"), ToolError)
    return None, kind(str(error.get("message", "")))


def encoded(name: str, args: dict[str, object]) -> bytes:
    from . import value

    try:
        data = value.encode_args(args, ARGS_MAX)
    except value.TooMuch:
        data = b""
    if not data or len(data) > ARGS_MAX:
        raise ValueError(f"the arguments of {name} are too large")
    return data


class Toolbox:
    """The tools of one catalogue, and the finder in sys.meta_path that makes their modules."""

    def __init__(self, catalogue: dict[object, object], calls: Calls) -> None:
        self.catalogue = catalogue
        self.calls = calls
        self.workspace = str(catalogue.get("workspace") or "/tmp/mcp_workspace")
        self.modules = stubs.read_catalogue(catalogue)

    # ---- modules ----

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        root, _, part = name.partition(".")
        if root != "tools" and root not in self.modules or part not in ("", "sync"):
            return None
        if root == "tools" and part:
            return None
        make_spec = sys.modules["_frozen_importlib"].ModuleSpec
        return make_spec(name, self, origin="tools", is_package=root != "tools" and not part)

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        root, _, part = module.__name__.partition(".")
        if root == "tools":
            fill_tools(module, self)
            return
        self.fill(module, self.modules[root], is_sync=bool(part))
        if not part:
            sync = type(sys)(f"{root}.sync")
            self.fill(sync, self.modules[root], is_sync=True)
            module.__dict__.setdefault("sync", sync)

    def fill(self, module: ModuleType, source: stubs.Module, is_sync: bool) -> None:
        """Functions are made on demand: there may be hundreds."""
        made = module.__dict__

        def __getattr__(name: str) -> object:
            function = source.functions.get(name)
            if function is None:
                raise AttributeError(f"module {module.__name__!r} has no tool {name!r}")
            return made.setdefault(name, self.function(function, is_sync))

        made["__doc__"] = source.doc or f"Tools of the module {source.name}."
        made["__all__"] = list(source.functions)
        made["__getattr__"] = __getattr__
        made["__dir__"] = lambda: sorted({*made, *source.functions})
        made["ToolError"] = ToolError

    # ---- functions ----

    def function(self, function: stubs.Function, is_sync: bool) -> Callable[..., object]:
        calls, name = self.calls, function.full_name

        def wait(given: dict[str, object]) -> Answer:
            args = encoded(name, function.arguments(given))
            return answer(function.name, calls.wait(KIND, name, args))

        async def ask(given: dict[str, object]) -> Answer:
            args = encoded(name, function.arguments(given))
            return answer(function.name, await calls.ask(KIND, name, args))

        return function.make(is_sync, wait if is_sync else ask)

    def find(self, name: str) -> stubs.Function:
        module, _, function = name.partition(".")
        found = self.modules.get(module)
        if found is None or function not in found.functions:
            raise ToolError(f"there is no tool {name!r}")
        return found.functions[function]

    def stub(self, name: str) -> Callable[[object], object]:
        """Decorator in the tree's files: what they define is the tool itself."""
        return lambda shown: self.function(self.find(name), is_sync=False)

    # ---- the module `tools` ----

    def list(self, module: str | None = None) -> list[str]:
        """Names of all tools, or of those of one module."""
        return [
            function.path
            for source in self.modules.values()
            for function in source.functions.values()
            if module is None or source.name == module
        ]

    def search(self, text: str) -> list[str]:
        """Names of the tools in whose name or description all words of `text` stand."""
        words = str(text).lower().split()
        found = []
        for name in self.list():
            known = self.find(name).describe().lower()
            if all(word in known for word in words):
                found.append(name)
        return found

    def describe(self, name: str) -> str:
        """Signature, description and parameters of a tool, or of all tools of a module."""
        if name in self.modules:
            functions = self.modules[name].functions.values()
            return "\n\n".join(function.describe() for function in functions)
        return self.find(name).describe()

    def read(self, path: str = stubs.INDEX) -> str:
        """Text of a file of the tree: "index.md", "servers/data/get_devices.py"."""
        wanted = str(path).removeprefix(self.workspace).strip("/").removeprefix("./")
        for name, text in stubs.tree(self.modules):
            if name == wanted:
                return text()
        raise FileNotFoundError(2, "No such file among the tools", str(path))


def fill_tools(module: ModuleType, box: Toolbox) -> None:
    module.__doc__ = (
        "Finds the tools of this run: list(), search(text), describe(name), read(path)."
    )
    module.__dict__["ToolError"] = ToolError
    for name in ("list", "search", "describe", "read", "stub"):
        module.__dict__[name] = getattr(box, name)
    module.__dict__["__all__"] = ["ToolError", "describe", "list", "read", "search"]


class State:
    """Of the worker: what the last run was given."""

    box: Toolbox | None = None


def install(catalogue: dict[object, object], calls: Calls) -> None:
    """Before a run. Modules of an earlier one stay if they are the same."""
    box = State.box
    if box is not None and box.catalogue != catalogue:
        remove(box)
        box = None
    if box is None and catalogue:
        box = State.box = Toolbox(catalogue, calls)
        sys.meta_path.insert(0, box)  # type: ignore[arg-type]
        stubs.write_tree(box.workspace, box.modules)
        os.environ[WORKSPACE] = box.workspace
        sys.path.append(box.workspace)


def remove(box: Toolbox) -> None:
    State.box = None
    os.environ.pop(WORKSPACE, None)
    for places, place in ((sys.meta_path, box), (sys.path, box.workspace)):
        if place in places:
            places.remove(place)  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if loader is box or name.partition(".")[0] == stubs.TOP:
            del sys.modules[name]
