"""The page's files, as `npm run build` made them: compressed in the package, whole in memory once asked for."""

import functools
import lzma
import mimetypes
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm", ".html": "text/html; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8"}


def names() -> list[str]:
    """Paths of all files, as the browser asks for them."""
    return sorted(path.relative_to(FOLDER).as_posix().removesuffix(".xz") for path in FOLDER.rglob("*.xz"))


@functools.cache
def read(name: str) -> bytes:
    """One of `names`, whole."""
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def media_type(name: str) -> str:
    """What the browser is to make of a file."""
    return TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
