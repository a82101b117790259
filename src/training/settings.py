"""What the training of a teacher and of a student have in common, as params.yaml has it."""

from dataclasses import dataclass

from src.ground.params import require
from src.networks.freezing import BACKBONE, NOTHING
from src.networks.initial import NetworkSettings


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(NetworkSettings):
    """What the training of a teacher and of a student have in common."""

    freeze: str | int  # none, backbone (all but the classifier), or how many groups of layers
    epochs: int
    batch_size: int  # pictures
    optimizer: str  # of torch.optim, timm.optim or names.MAPPED
    lr: float  # the peak; a schedule's factors multiply it
    weight_decay: float  # not applied to biases and norms
    layer_decay: float  # of lr from a layer to the one below it; 1 = off
    head_lr_mult: float  # times lr, for the classifier
    clip: float  # largest norm of the gradient; 0 = off
    accumulate: int  # batches whose gradients make one step
    ema: float  # decay of the moving average of the weights, in [0, 1); 0 = off
    swa: int  # last epochs whose weights are averaged; 0 = off
    slim: float  # factor of the sum of |gamma| of all BatchNorms that is added to the loss; 0 = off
    precision: str  # of a GPU's forward pass: float32, bfloat16 or float16; a CPU's is float32
    sync_batchnorm: bool  # BatchNorm over the pictures of all processes; on GPUs only
    patience: int  # epochs without a better one after which training ends; 0 = off
    label_smoothing: float  # share of the label that goes to all classes alike
    class_weights: str | dict[str, float]  # none, balanced, or class -> weight, 1 for the rest
    focal_gamma: float  # power of |target - probability| that a loss term is multiplied by; 0 = off
    schedule: str  # step, cosine or onecycle
    warmup: int  # epochs
    warmup_factor: float  # of lr during the warm-up of step, at its start for cosine
    step_factors: tuple[float, ...]  # of lr after the warm-up of step
    step_epochs: tuple[int, ...]  # where the next factor begins; empty = 1.5/4, 2.5/4, 3.5/4 of the rest

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warmup < self.epochs, "warmup must be below epochs", f"{self.warmup} and {self.epochs}")
        require(self.swa < self.epochs, "swa must be below epochs", f"{self.swa} and {self.epochs}")
        for name, value in (("ema", self.ema), ("patience", self.patience)):
            require(
                not (value and self.swa), f"{name} and swa: one of them must be 0", f"{value} and {self.swa}"
            )
        require(
            not self.swa or self.freeze in (NOTHING, BACKBONE),
            "swa renews every BatchNorm, so freeze must be none or backbone with it",
            self.freeze,
        )
        rising = list(self.step_epochs) == sorted(set(self.step_epochs))
        require(rising, "step_epochs must rise", list(self.step_epochs))
        last = max(self.step_epochs, default=0)
        require(last < self.epochs, "step_epochs must be below epochs", f"{last} and {self.epochs}")
        if self.step_epochs or self.schedule == "step":
            falls = len(self.step_epochs or (1, 2, 3))
            factors = f"{len(self.step_factors)} factors and {falls} epochs"
            require(
                len(self.step_factors) == falls + 1, "step_factors must be one more than step_epochs", factors
            )
