"""Dojo beside what people would take instead, fastai and timm's train.py: equal time, the same weights.

Each contestant is trained with each seed, in turns, and measured on test by its own means. Dojo trains as
params.yaml says, in a clone of the last commit; what this took with the first seed, or the seconds given, is
the time of a peer, which gets as many epochs as fit into it by trials. What each then took is printed beside
its accuracies, by the clock and in CPU time: nothing else should run meanwhile.

fastai runs in an environment of its own, which this program makes, with the project's torch and timm.
train.py is no part of timm's package: take it from timm's repository, at the tag of the installed version.

reads   DATA, a folder of train, val and test; WEIGHTS, pretrained ones of ARCH
writes  .scratch/peers/venv, fastai's environment
run     python -m benchmarks.peers DATA WEIGHTS [--size 96] [--params FILE] [--set KEY=VALUE ...] [--alone]
        [--seconds N] [--seeds 3] [--timm-train .scratch/peers/train.py] [--timm-lr LR ...] [--rows NAME]
"""

import tempfile
from pathlib import Path

from benchmarks.contestants.comparing import SPLITS, Contestant, Task, compare, print_summary
from benchmarks.contestants.dojo import ALONE, Dojo
from benchmarks.contestants.with_fastai import PACKAGES, Fastai, make_environment
from benchmarks.contestants.with_timm import Timm
from src.ground.errors import Parser, UserError, run
from tools.ablation.overrides import set_text

SCRATCH = Path(".scratch/peers")


def main() -> None:
    parser = Parser(prog="python -m benchmarks.peers")
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--arch", default="tf_efficientnet_lite0", help="the peers' network, timm's name")
    parser.add_argument("--size", type=int, help="pixels, of all; default: as in the params")
    parser.add_argument("--batch-size", type=int, default=32, help="of the peers")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="Dojo's settings")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of them")
    parser.add_argument("--alone", action="store_true", help="also Dojo's student without a teacher")
    parser.add_argument("--seconds", type=float, help="of a peer; default: what Dojo took with seed 1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timm-train", type=Path, default=SCRATCH / "train.py", help="timm's train.py")
    parser.add_argument("--timm-lr", type=float, nargs="+", default=[2e-3], help="its learning rates")
    parser.add_argument("--rows", default="", help="only contestants whose names begin with this")
    given = parser.parse_args()
    for path in (*(given.data / split for split in ("train", *SPLITS)), given.weights, given.params):
        if not path.exists():
            raise UserError(f"{path}: not there (the peers need train, val and test, and a file of weights)")
    sizes = [f"images.{side}={given.size}" for side in ("height", "width") if given.size]
    overrides = [set_text("data.root", given.data.absolute()), *sizes, *given.set]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dojo = Dojo("Dojo", folder / "dojo", given.params, overrides)
        images = dojo.write_params(1)["images"]
        if images["height"] != images["width"]:
            raise UserError("images.height, images.width: the peers know one size (make them equal)")
        task = Task(
            given.data.absolute(), given.weights.absolute(), given.arch, images["height"], given.batch_size
        )
        contestants: list[Contestant] = [dojo]
        if given.alone:
            contestants.append(
                Dojo("Dojo, student alone", folder / "alone", given.params, [*overrides, *ALONE])
            )
        contestants.append(Fastai(SCRATCH / "venv/bin/python", task))
        if given.timm_train.exists():
            contestants.extend(Timm(given.timm_train, task, lr) for lr in given.timm_lr)
        else:
            print(f"timm's train.py: left out, there is no {given.timm_train} (--timm-train FILE)")
        chosen = [one for one in contestants if one.name.startswith(given.rows)]
        if any(isinstance(one, Fastai) for one in chosen):
            make_environment(SCRATCH / "venv", PACKAGES)
        print_summary(compare(chosen, given.seeds, given.seconds, folder))


if __name__ == "__main__":
    run(main)
