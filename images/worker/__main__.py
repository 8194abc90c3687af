"""Entry point: python3 -I -B -X utf8 /oneshot/worker"""

import sys


def start() -> None:
    # The directory that was executed stands first in sys.path; modules are found through the
    # package alone, or a program's `import result` would get ours.
    package = type(sys)("_oneshot")
    package.__path__ = [sys.path.pop(0)]
    sys.modules["_oneshot"] = package
    from _oneshot import main  # type: ignore[import-not-found]

    main.main()


start()
