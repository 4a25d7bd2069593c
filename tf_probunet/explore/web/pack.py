"""Puts what vite built, LiteRT's WASM and the licences into ../static, compressed, with a hash of the sources.

xz halves what gzip makes of the WASM, and Python's own library reads it; over the loopback nothing need be compressed.
"""

import hashlib
import lzma
import shutil
from pathlib import Path

WEB = Path(__file__).parent
STATIC = WEB.parent / "static"
WASM = "litert_wasm_compat_internal"  # runs in every browser, also where relaxed SIMD is missing
SOURCES = ("index.html", "package.json", "package-lock.json", "pack.py", "tsconfig.json", "vite.config.ts", "src",
           "licences.txt")


def sources_sha256() -> str:
    """Hash of everything that the build follows from."""
    found = hashlib.sha256()
    for name in SOURCES:
        path = WEB / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found.update(file.relative_to(WEB).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def main():
    """Writes ../static anew."""
    shutil.rmtree(STATIC, ignore_errors=True)
    wasm = WEB / "node_modules" / "@litertjs" / "core" / "wasm"
    files = {path.relative_to(WEB / "build").as_posix(): path for path in (WEB / "build").rglob("*") if path.is_file()}
    files |= {f"{WASM}.{ending}": wasm / f"{WASM}.{ending}" for ending in ("js", "wasm")}
    files["licences.txt"] = WEB / "licences.txt"
    for name, path in files.items():
        target = STATIC / f"{name}.xz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
        print(f"{target.stat().st_size:>9,} bytes  {target.relative_to(STATIC)}")
    (STATIC / "sources.sha256").write_text(sources_sha256() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
