"""The DVC remote through which the clones of an engine's workers share the outputs of stages."""

from pathlib import Path

from src.ground.errors import UserError
from tools.ablation.clone import run_program
from tools.inputs import TARGET

OWN = "table"  # the name, in a clone, of a remote that is given by its address
REMEDY = "check the remote's address and keys; what ran stays recorded"


def choose_remote(clone: Path, address: str) -> tuple[str, str]:
    """Name and URL of the remote at this folder or URL; if it is empty the committed default and no URL."""
    if address:
        return OWN, address if "://" in address else str(Path(address).absolute())
    try:
        name = run_program("dvc", "config", "--project", "core.remote", cwd=clone).strip()
    except UserError:
        remedy = "REMOTE=/folder/that/all/see, or dvc remote add --default NAME URL and commit .dvc/config"
        raise UserError(f".dvc/config: no default remote in the last commit ({remedy})") from None
    return name, ""


def add_remote(clone: Path, url: str) -> None:
    """Let the clone know the remote at this URL by the name OWN; an empty one needs nothing."""
    if url:
        run_program("dvc", "remote", "add", "--local", "--force", OWN, url, cwd=clone)


def push(clone: Path, name: str) -> None:
    """Push the outputs of TARGET and the stages before it that the clone's cache has."""
    command = ("push", "--with-deps", "--remote", name, TARGET)
    run_program("dvc", *command, cwd=clone, remedy=REMEDY)
