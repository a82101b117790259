"""Write the page that `dvc plots show` fills, with the libraries that draw inside: it needs no network.

DVC's own page loads them from a server; these are the same versions, from npm, under their BSD licences.

reads   npm's packages, checked by hash
writes  .dvc/plots.html
run     python -m tools.plots_page
"""

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from src.ground.errors import UserError, run
from src.ground.files import open_atomically

PAGE = Path(".dvc/plots.html")
SCRIPTS = {  # package@version -> SHA-256 of its build/NAME.min.js; the versions that dvc_render asks for
    "vega@5.20.2": "4794d0169cb1f3ebad8117fe98ba5bd652dd725905ec0384e832391dbccb03be",
    "vega-lite@5.2.0": "d73157451b3978015ab31dacd55ff90d986ab8663fc0abed50f97b3cd90002cb",
    "vega-embed@6.18.2": "1ba9826431ddc9805e815ad92acc811c819f2bfd32bda2a128b8c4b5070fab5e",
}
START = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
{refresh_tag}
<title>DVC plots</title>
<style>table { border-spacing: 15px; }</style>
"""
END = """</head>
<body>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scripts = [fetch(package, Path(name)) for package in SCRIPTS]
    with open_atomically(PAGE) as file:
        file.write(START)
        for package, script in zip(SCRIPTS, scripts, strict=True):
            file.write(f"<script>/*! {package}\n{script}</script>\n")
        file.write(END)
    print(f"{PAGE}: {PAGE.stat().st_size / 1e6:.2f} MB, {', '.join(SCRIPTS)}")


def fetch(package: str, folder: Path) -> str:
    """The script of a package of npm after its licence; a UserError if it is not the expected one."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"npm pack {package}: {done.stderr.strip() or done.returncode} (is npm installed?)")
    name = package.partition("@")[0]
    with tarfile.open(folder / done.stdout.strip()) as archive:
        licence, content = (
            archive.extractfile(f"package/{path}").read()  # type: ignore[union-attr]  # a file, no folder
            for path in ("LICENSE", f"build/{name}.min.js")
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != SCRIPTS[package]:
        raise UserError(f"{package}: SHA-256 {digest}, expected {SCRIPTS[package]} (do not use it)")
    return f"{licence.decode()}*/\n{content.decode()}"


if __name__ == "__main__":
    run(main, arguments=[])
