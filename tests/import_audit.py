"""Import modules, and print what of the tree sets the environment or opens something meanwhile."""

import importlib
import sys
import sysconfig
from pathlib import Path

ROOT = Path(sys.argv[1])
STDLIB = sysconfig.get_path("stdlib")
WATCHED = ("os.putenv", "os.unsetenv", "open", "socket.connect", "subprocess.Popen")


def report(event: str, args: tuple[object, ...]) -> None:
    if event not in WATCHED:
        return
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return  # the import itself
        if not name.startswith(("<frozen", STDLIB)) or "site-packages" in name:
            break
        frame = frame.f_back
    if frame is None:
        return
    file = Path(frame.f_code.co_filename)
    if ROOT in file.parents and "site-packages" not in file.parts:
        print(f"{file.relative_to(ROOT)}:{frame.f_lineno}: {event} {args[0]!r}")


sys.addaudithook(report)
for module in sys.argv[2:]:
    importlib.import_module(module)
