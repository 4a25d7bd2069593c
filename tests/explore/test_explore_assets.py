"""The page that the package holds is the one that its sources make."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tf_probunet.explore import assets

WEB = Path(assets.__file__).parent / "web"


def test_the_sources_have_not_changed_since_the_build():
    spec = importlib.util.spec_from_file_location("pack", WEB / "pack.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    built = (assets.FOLDER / "sources.sha256").read_text().strip()
    assert pack.sources_sha256() == built, f"run `npm ci && npm run build` in {WEB}"


def test_the_build_is_complete_and_small():
    assert {"index.html", "app.js", "worker.js", "index.css", "icon.svg", "licences.txt",
            "litert_wasm_compat_internal.js", "litert_wasm_compat_internal.wasm"} == set(assets.names())
    assert assets.read("litert_wasm_compat_internal.wasm")[:4] == b"\0asm"
    assert sum(path.stat().st_size for path in assets.FOLDER.iterdir()) < 2.5e6
    for named in re.findall(r'(?:src|href)="\./([^"]+)"', assets.read("index.html").decode()):
        assert named in assets.names()
    for name in ("index.html", "app.js", "worker.js", "index.css"):
        addresses = set(re.findall(r"https?://[\w.-]+", assets.read(name).decode())) - {"http://www.w3.org"}
        assert not addresses, f"{name} names {addresses}"


def test_the_toolchain_is_pinned_and_names_no_registry():
    package = json.loads((WEB / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values()), versions
    lock = (WEB / "package-lock.json").read_text()
    assert "resolved" not in lock and "http://" not in lock
    assert json.loads(lock)["packages"]["node_modules/@litertjs/core"]["version"] == versions["@litertjs/core"]


@pytest.mark.skipif(not (WEB / "node_modules").is_dir() or not shutil.which("npx"),
                    reason="needs `npm ci` in explore/web")
def test_it_builds_again_and_its_functions_pass(tmp_path):
    subprocess.run(["npx", "vite", "build", "--outDir", tmp_path / "build", "--logLevel", "error"], cwd=WEB, check=True)
    for path in sorted((tmp_path / "build").iterdir()):
        assert path.read_bytes() == assets.read(path.name), path.name
    result = subprocess.run(["npx", "vitest", "run"], cwd=WEB, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
