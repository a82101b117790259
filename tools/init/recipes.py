"""Every number that make init chooses by, in one place, each with where it is from.

A number without a measurement says so. The epochs of a recipe are those for its number of training pictures;
with n times as many there are 1 / sqrt(n) times as many, halfway between equal epochs and equal steps.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

DIGIT = 40  # pixels; grey pictures whose shorter side is at most this are taken for digits and the like
ENLARGED = 1.15  # of a picture's shorter side: larger inputs would only enlarge it (not measured)
LONG = 1.5  # ratio of the sides over which a crop would lose more than a third of the picture
UNEVEN = 10.0  # ratio of classes over which they are weighted: at 7 it cost a point and gained no macro F1
SAFE = 0.9  # share of the minutes that is planned, so that the run keeps to them
# times the epochs of a recipe; under 1 only if nothing else fits
EFFORTS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8)
FEW = ((64, 8), (256, 16))  # fewer training pictures than -> most pictures a step (not measured)
MANY = 20_000  # training pictures from which a step takes twice the recipe's (not measured)
SHARE, TEMPERATURE = 0.7, 2.0  # of distillation: the defaults, not chosen for photos
CHANCE = 2.0  # times the accuracy of chance that a teacher must reach
MOST_WORKERS = 8  # processes that augment beside a GPU (not measured)
MOST_THREADS = 8  # of a network's (not measured)


@dataclass(frozen=True)
class Candidate:
    """A network, and its size without and with a classifier."""

    arch: str
    name: str  # of its weights in make weights; empty: trained from nothing
    body: int  # parameters without the classifier
    features: int  # of which the classifier has one weight a class, and a bias

    def count(self, classes: int) -> int:
        """Its parameters with this number of classes."""
        return self.body + (self.features + 1) * classes


LITE0 = Candidate("timm/tf_efficientnet_lite0", "lite0", 3_371_008, 1280)
SHORT = Candidate("lite0_short", "lite0", 700_704, 112)
LITE1 = Candidate("timm/tf_efficientnet_lite1", "lite1", 4_135_680, 1280)
LITE2 = Candidate("timm/tf_efficientnet_lite2", "lite2", 4_811_072, 1280)
RESNET = Candidate("timm/test_resnet", "", 372_688, 96)
EFFICIENTNET = Candidate("timm/test_efficientnet", "", 99_196, 256)
MOST = {"small": 4_000_000, "tiny": 1_000_000}  # parameters of the student, by SIZE


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training pictures are augmented: keys of augment."""

    policy: str
    basis: str
    flip: float
    min_area: float
    rotate: float
    shift: float
    scale: float
    train_scale: float  # share of the input size that is trained at
    source: str

    @property
    def kind(self) -> str:
        """What its cost depends on."""
        return f"{self.policy} after {self.basis}"


PHOTOS = Augmentation(
    policy="crop",
    basis="crop",
    flip=0.5,
    min_area=0.35,  # .6 gained nothing
    rotate=10.0,  # this and the next two have no effect with crop
    shift=0.1,
    scale=0.1,
    train_scale=1.0,
    source="usual for photographs (flip 0 if a mirrored one would be of another class)",
)
NEW_PHOTOS = replace(
    PHOTOS, policy="light", basis="flip", source="from nothing, crops took more epochs than there are"
)
DIGITS = Augmentation(
    policy="light",
    basis="flip",
    flip=0.0,
    min_area=0.08,
    rotate=10.0,
    shift=0.1,
    scale=0.1,
    train_scale=1.0,
    source="the demo's, since signs must not be mirrored",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    optimizer: str = "adam"
    lr: float
    weight_decay: float = 0.0
    layer_decay: float = 1.0  # .8 and ema .98 gained nothing on photos of clothes
    ema: float = 0.0
    epochs: int  # with so many pictures:
    pictures: int
    warmup: float  # share of the epochs
    batch: int  # pictures a step
    select: str = "loss"  # the epoch that is kept, by val's loss or accuracy
    augmentation: Augmentation = PHOTOS
    source: str


TUNED_TEACHER = Recipe(
    lr=0.001,
    epochs=5,
    pictures=2500,
    warmup=0.2,
    batch=32,
    source="accuracy .884 on photos of clothes in 5 epochs at 128 px, three seeds",
)
TUNED_STUDENT = Recipe(
    lr=0.001,
    epochs=10,
    pictures=2500,
    warmup=0.2,
    batch=32,
    select="accuracy",
    source="as the teacher's, with more epochs",
)
NEW_TEACHER = Recipe(
    lr=0.003,
    epochs=20,
    pictures=2500,
    warmup=0.25,
    batch=32,
    source="accuracy .765 on photos of clothes in 20 epochs at 128 px, one seed",
)
NEW_STUDENT = Recipe(
    lr=0.003,
    epochs=60,
    pictures=2500,
    warmup=0.25,
    batch=32,
    augmentation=NEW_PHOTOS,
    select="accuracy",
    source="accuracy .801 on photos of clothes in 60 epochs at 128 px, .692 in 20 with crops, one seed each",
)
DIGIT_TEACHER = Recipe(
    lr=0.003, epochs=30, pictures=300, warmup=0.3, batch=50, augmentation=DIGITS, source="the demo's"
)
DIGIT_STUDENT = Recipe(
    lr=0.003, epochs=20, pictures=300, warmup=0.3, batch=50, augmentation=DIGITS, source="the demo's"
)


class Step(NamedTuple):
    """What minutes buy."""

    side: int  # pixels
    teacher: Candidate
    taught: bool = True  # whether there is time for a teacher at all


# from the cheapest on; the last one that fits is taken. In 270 s on two cores a student of photos of clothes
# reached .853 on test at 96 px after a teacher like itself; alone at 128 px .886 in half the time
PHOTO_STEPS = (
    Step(64, LITE0, taught=False),
    Step(96, LITE0, taught=False),
    Step(128, LITE0, taught=False),
    Step(128, LITE2),
    Step(160, LITE2),
    Step(192, LITE2),
    Step(224, LITE2),
)
NEW_STEPS = (Step(64, RESNET), Step(96, RESNET), Step(128, RESNET), Step(160, RESNET))
DIGIT_STEPS = (Step(32, RESNET),)
STUDENTS = {
    "small": (LITE0, RESNET),
    "tiny": (SHORT, RESNET, EFFICIENTNET),
}  # the first that can be had and is small
DIGIT_STUDENTS = {"small": (EFFICIENTNET,), "tiny": (EFFICIENTNET,)}
LESSER = {LITE2: (LITE2, LITE1, LITE0), LITE0: (LITE0, LITE1, LITE2)}  # instead of a teacher without weights

# the run beside its pictures; by CPU time, 24 pictures of three classes, lite2 and lite0 at 128 pixels
STARTS = {  # in starts of a training: the import of torch and timm
    "check_images": 0.15,
    "train_teacher": 1.7,  # it builds both networks and tries them before it trains
    "plan_views": 0.05,
    "dump_knowledge": 0.95,
    "make_curriculum": 0.05,
    "train_student": 1.35,
    "evaluate": 1.35,
    "export_jit": 3.0,  # ONNX is made, and the demo's process starts for each format
    "report": 1.2,
}
EPOCH = 0.03  # seconds of each beside its pictures, to save and show: .01 and .025 on 24 pictures
MAKE, DVC = 4.0, 0.7  # seconds of make repro before the first stage, and of DVC for each
PACKING = 3e8  # bytes a second that a pack is written and hashed at (not measured)
WRITING, READING = 2e-6, 1e-6  # seconds a probability: 20.5 and 9.1 s for a knowledge file of 10,000 x 1,000
DRAWING = 5e-5  # seconds a cell of the confusion matrix: 51 s for 1,000 classes
