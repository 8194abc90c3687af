"""Finds and reads the modules that programs use most in one file instead of in hundreds.

In a fresh container most of an import is spent on looking into directories and opening files: the
page and name caches are empty, and on some storage drivers each look is a question to another
process. pack.py writes, when the image is built, the code of the common modules into one file and
what is in their directories into another. This finder answers from them and leaves everything else
to its parent, the finder that Python would have used: the order of sys.path, __file__, sources,
tracebacks and resources are as ever. An import takes about half the time.

A root whose directory was changed after the build, by another layer, is not answered for.
"""

import marshal
import posix
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location

DIRECTORY = "/oneshot/imports"
# In the order in which Python tries them.
LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)

# directory -> marshalled ({name: (suffix, start, end), or None: ask the parent}, is_complete)
tables = {}
code = None


def map_code():
    global code
    import mmap  # a file itself on some builds

    with open(DIRECTORY + "/code", "rb") as file:
        code = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class PackedLoader(SourceFileLoader):
    def __init__(self, fullname, path, start, end):
        super().__init__(fullname, path)
        self.start = start
        self.end = end

    def get_code(self, fullname):
        if code is None:
            map_code()
        return marshal.loads(code[self.start : self.end])


class PackedFinder(FileFinder):
    def __init__(self, path):
        super().__init__(path, *LOADERS)
        self.table, self.is_complete = marshal.loads(tables[path])

    def find_spec(self, fullname, target=None):
        name = fullname.rpartition(".")[2]
        entry = self.table.get(name)
        if entry is None:
            if self.is_complete and name not in self.table:
                return None
            return super().find_spec(fullname, target)
        suffix, start, end = entry
        path = f"{self.path}/{name}{suffix}"
        if end == 0:
            loader = ExtensionFileLoader(fullname, path)
        else:
            loader = PackedLoader(fullname, path, start, end)
        directories = [f"{self.path}/{name}"] if suffix[0] == "/" else None
        return spec_from_file_location(
            fullname, path, loader=loader, submodule_search_locations=directories
        )


def hook(path):
    if path not in tables:
        raise ImportError
    return PackedFinder(path)


def install():
    try:
        with open(DIRECTORY + "/index", "rb") as file:
            version, time, roots, found = marshal.load(file)
    except OSError:
        return
    if version != sys.hexversion or sys.flags.optimize:
        return
    for root in roots:
        if posix.stat(root).st_mtime == time:
            tables.update(found[root])
    sys.path_hooks.insert(0, hook)
    for path in tables.keys() & sys.path_importer_cache.keys():
        del sys.path_importer_cache[path]


install()
