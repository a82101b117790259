"""Write scikit-learn's handwritten digits as picture files: few for training, many for testing.

params  demo
writes  data/demo              {train,val,test}/<digit>/<number>.png, grey, 8 x 8 pixels
run     python -m stages.make_demo
"""

from pathlib import Path

from src.ground.errors import run
from src.ground.params import read
from src.pictures.demo import DemoSettings, split_digits, write_pictures

DEMO = Path("data/demo")


def main() -> None:
    settings = read(DemoSettings, "demo")
    splits = split_digits(settings)
    write_pictures(DEMO, splits, settings.label_noise, settings.seed)
    print(f"{DEMO}: " + ", ".join(f"{len(rows)} {split}" for split, rows in splits.items()))


if __name__ == "__main__":
    run(main, arguments=[])
