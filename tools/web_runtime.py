"""Write the script by which a page runs ONNX files: ONNX Runtime Web for the CPU, complete in itself.

The package loads its WebAssembly and the module around it from a server; here both are inside, compressed.

reads   npm's package, checked by hash
writes  src/export/runtime.js
run     python -m tools.web_runtime
"""

import base64
import gzip
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.files import open_atomically

SCRIPT = Path("src/export/runtime.js")
PACKAGE = "onnxruntime-web@1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"  # of the package's archive
API, MODULE, BINARY = (
    f"package/dist/{name}"
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
)
LICENCE = """/*! {package} of npm: {names}

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

Notices of the libraries inside: https://github.com/microsoft/onnxruntime/blob/main/ThirdPartyNotices.txt
*/
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, tarfile.open(fetch(Path(name))) as archive:
        api, module, binary = (
            archive.extractfile(path).read()  # type: ignore[union-attr]  # a file, no folder
            for path in (API, MODULE, BINARY)
        )
    code = api.decode().partition("//# sourceMappingURL")[0]
    if "</script" in code or "<!--" in code:
        raise UserError(f"{PACKAGE}: {API} cannot stand inside a page (it would end its script)")
    names = ", ".join(path.rpartition("/")[2] for path in (API, MODULE, BINARY))
    with open_atomically(SCRIPT) as file:
        file.write(LICENCE.format(package=PACKAGE, names=names))
        file.write(f'{code}const runtime = {{ module: "{pack(module)}", binary: "{pack(binary)}" }};\n')
    print(f"{SCRIPT}: {SCRIPT.stat().st_size / 1e6:.2f} MB, {PACKAGE}")


def fetch(folder: Path) -> Path:
    """The archive of the package, in `folder`; a UserError if it is not the expected one."""
    done = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"npm pack {PACKAGE}: {done.stderr.strip() or done.returncode} (is npm installed?)")
    path = folder / done.stdout.strip()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise UserError(f"{PACKAGE}: SHA-256 {digest}, expected {SHA256} (do not use it)")
    return path


def pack(content: bytes) -> str:
    """The same compressed, as text; always with the same bytes."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


if __name__ == "__main__":
    run(main, arguments=[])
