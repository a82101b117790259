"""Every strategy alone against the plain student, over seeds: accuracy and macro F1 on test.

The plain student has no teacher (distill.share 0); all else is params.yaml's. `dvc repro` comes first, with
`-S demo.imbalance=10` or `-S demo.label_noise=0.2` for the other two tables. The difference is that of the
same seeds, with the standard error of its mean.

run     python -m benchmarks.strategies clean|imbalance|noise [threads=1 ...] [--seeds 5] [--only bce,focal2]
"""

import argparse
import statistics

from benchmarks.students import in_a_row, score
from src.ground.errors import run

LOSSES = {
    "softmax+ohm": ["loss=softmax+ohm"],
    "softmax+ghm": ["loss=softmax+ghm"],
    "softmax+threshold": ["loss=softmax+threshold"],
    "bce": ["loss=bce"],
    "bce+ohm": ["loss=ohm"],
    "bce+ghm": ["loss=ghm"],
    "bce+threshold": ["loss=threshold"],
    "label smoothing .1": ["student.label_smoothing=0.1"],
    "focal 2": ["student.focal_gamma=2"],
    "distillation": ["distill.share=0.7"],
}
RARE = "{9:{0:3,1:3,2:3,3:3,4:3,5:3,6:3,7:3,8:3},8:{0:3,1:3,2:3,3:3,4:3,5:3,6:3,7:3,9:3}}"
TABLES = {
    "clean": {
        **LOSSES,
        "bce prior none": ["loss=bce", "student.prior=none"],
        "no augmentation": ["augment.policy=none"],
        "custom": ["augment.policy=custom"],
        "autoaugment": ["augment.policy=autoaugment"],
        "randaugment": ["augment.policy=randaugment"],
        "trivialaugment": ["augment.policy=trivialaugment"],
        "erasing .25": ["augment.erase=0.25"],
        "mixup .2": ["augment.mixup=0.2"],
        "cutmix 1": ["augment.cutmix=1.0"],
        "multi-scale .15": ["augment.multi_scale=0.15"],
        "ema .99": ["student.ema=0.99"],
        "swa 10": ["student.swa=10"],
        "clip 1": ["student.clip=1.0"],
        "accumulate 2": ["student.accumulate=2"],
        "patience 10": ["student.patience=10"],
        "step": ["student.schedule=step", "student.warmup=2"],
        "cosine": ["student.schedule=cosine"],
        "adamw decay .05": ["student.optimizer=adamw", "student.weight_decay=0.05"],
        "sgd lr .1": ["student.optimizer=sgd", "student.lr=0.1"],
        "radam": ["student.optimizer=radam"],
        "ranger": ["student.optimizer=ranger"],
        "lookahead_adam": ["student.optimizer=lookahead_adam"],
        "ralamb lr .01": ["student.optimizer=ralamb", "student.lr=0.01"],
        "rangerlars lr .01": ["student.optimizer=rangerlars", "student.lr=0.01"],
        "novograd lr .01": ["student.optimizer=novograd", "student.lr=0.01"],
        "a fifth of the pictures": ["student.fraction=0.2"],
        "fifth distilled": ["student.fraction=0.2", "distill.share=0.7"],
    },
    "imbalance": {
        **LOSSES,
        "class weights balanced": ["student.class_weights=balanced"],
        "weighted rare cost 3": ["loss=softmax+weighted", f"+weighting.weighted.costs={RARE}"],
        "curriculum": ["student.curriculum=true"],
        "mixup .2": ["augment.mixup=0.2"],
    },
    "noise": {
        **LOSSES,
        "distillation share 1": ["distill.share=1"],
        "curriculum": ["student.curriculum=true"],
        "curriculum and distillation": ["student.curriculum=true", "distill.share=0.7"],
        "mixup .2": ["augment.mixup=0.2"],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="strategies of the table, joined by commas and their spaces left out")
    parser.add_argument("overrides", nargs="*", help="key=value for every student, plain or not")
    arguments = parser.parse_args()
    rows = TABLES[arguments.table]
    if arguments.only:
        wanted = arguments.only.split(",")
        rows = {name: row for name, row in rows.items() if name.replace(" ", "") in wanted}
    plain = None
    for name, row in {"plain": [], **rows}.items():
        scores = [
            score([*arguments.overrides, "distill.share=0", *row, f"seed={seed}"])
            for seed in range(1, arguments.seeds + 1)
        ]
        plain = plain or scores
        accuracies = [one.accuracy for one in scores]
        gains = [one.accuracy - base.accuracy for one, base in zip(scores, plain, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5
        f1 = statistics.mean(one.macro_f1 for one in scores)
        print(
            f"{name:28} {in_a_row(accuracies)}  f1 {f1:.4f}  {statistics.mean(gains):+.4f} se {error:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    run(main)
