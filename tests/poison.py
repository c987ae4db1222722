"""Images that ruin whoever decodes them, by a real Pillow plugin.

A `sitecustomize.py` registers it in every Python that has `plugin_folder` on PYTHONPATH, so also in those that a test
does not start itself.
"""

from pathlib import Path

ABORT = b"POISON:abort"  # the C library gives up: SIGABRT
SEGV = b"POISON:segv"  # reads address 0: SIGSEGV
LAST_WORDS = b"POISON:last-words"  # prints what the C library says of a broken heap, then SIGABRT
HANG = b"POISON:hang"  # never returns, and never lets another Python thread run
EAT = b"POISON:eat"  # takes memory until there is none, to the last bytes
EAT_IN_CPP = b"POISON:bad_alloc"  # C++ cannot have what it wants, and nobody catches that
LEAK = b"POISON:leak"  # a good image, of which 100 MB stay behind
NO_COLOURS = b"POISON:no-colours"  # gets through decoding, and then resizing fails: a fault that nobody has foreseen
LIES = b"POISON:lies"  # has taken its decoder over, and has it answer what makes no sense
GREEDY = b"POISON:greedy"  # so too, and has it ask for bytes of no file
CHATTER = b"POISON:chatter"  # a good image, about which ten million characters are printed

SHAPE = (6, 8)  # height and width of those that are good in the end


def crash_once(marker: Path) -> bytes:
    """An image that crashes its decoder unless `marker` is there, which it leaves; then it is a good one."""
    return b"POISON:crash-once " + str(marker).encode()


def hang_once(marker: Path) -> bytes:
    """An image that hangs unless `marker` is there, which it leaves; then it is a good one."""
    return b"POISON:hang-once " + str(marker).encode()


def hang_once_then_exit(marker: Path) -> bytes:
    """An image that hangs unless `marker` is there, which it leaves; then it ends the process with exit code 3."""
    return b"POISON:hang-once-then-exit " + str(marker).encode()


def plugin_folder(folder: Path) -> Path:
    """Writes the plugin into `folder`, to be put on PYTHONPATH, and gives it back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_PLUGIN)
    return folder


_PLUGIN = """
import ctypes, os, pathlib, socket, sys

from PIL import BmpImagePlugin, Image, ImageFile

kept = []


def hang():
    ctypes.PyDLL(None).pause()  # PyDLL does not let go of the interpreter


def eat():
    eaten, size = [], 2**20
    while True:
        try:
            eaten.append(bytearray(size))
        except MemoryError:
            if size < 64:
                raise
            size //= 2


def bad_alloc():
    new = ctypes.CDLL("libstdc++.so.6")._Znwm
    new.restype = ctypes.c_void_p
    new(ctypes.c_size_t(2**46))


def say(packet):
    for name in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{name}") and "socket" in os.readlink(f"/proc/self/fd/{name}"):
            socket.socket(fileno=os.dup(int(name))).send(packet)
    hang()


def chatter():
    for _ in range(10_000):
        os.write(2, b"x" * 999 + b"\\n")


def once(marker, deed):
    if not os.path.exists(marker):
        pathlib.Path(marker).touch()
        deed()


DEEDS = {
    "abort": os.abort,
    "segv": lambda: ctypes.string_at(0),
    "last-words": lambda: (os.write(2, b"more\\nfree(): invalid pointer\\n"), os.abort()),
    "hang": hang,
    "eat": eat,
    "bad_alloc": bad_alloc,
    "leak": lambda: kept.append(b"x" * 10**8),
    "no-colours": lambda: None,
    "chatter": chatter,
    "lies": lambda: say(b'{"kind": "decoded", "height": {}, "seconds": 5}'),
    "greedy": lambda: say(b'{"kind": "read", "start": -5, "end": 99999999999}'),
    "crash-once": lambda marker: once(marker, os.abort),
    "hang-once": lambda marker: once(marker, hang),
    "hang-once-then-exit": lambda marker: (once(marker, hang), os._exit(3)),
}


class PoisonImage(ImageFile.ImageFile):
    format = "POISON"

    def _open(self):
        self._deed, *self._arguments = self.fp.read().decode().removeprefix("POISON:").split()
        self._mode, self._size = "RGB", (8, 6)

    def load(self):
        DEEDS[self._deed](*self._arguments)
        self.im = Image.core.fill("RGB", self._size, (200, 100, 50))
        return None

    @property
    def __array_interface__(self):
        if self._deed == "no-colours":
            return {"version": 3, "shape": (6, 8), "typestr": "|u1", "data": bytes(48)}
        return super().__array_interface__


# In place of a format that is allowed, for no other is opened.
bitmap, is_bitmap = Image.OPEN["BMP"]
Image.register_open(
    "BMP",
    lambda fp, name: (PoisonImage if fp.read(7) == b"POISON:" else bitmap)((fp.seek(0), fp)[1], name),
    lambda head: head.startswith(b"POISON:") or is_bitmap(head),
)
"""
