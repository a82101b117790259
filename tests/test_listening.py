"""Teachers that look at the student's own batches."""

import numpy as np
import pytest
import torch
from conftest import LIGHT, edit_params, make_job, make_training_set, wrap_network
from torch import nn

from src.batches.batch import Batch
from src.ground.errors import UserError
from src.ground.params import read_params
from src.losses.bases import BASES
from src.losses.loss import DistillSettings, Loss
from src.networks.predict import predict_probs
from src.training.curves import NoCurves
from src.training.features import learn_from_features
from src.training.fit import fit
from src.training.listening import Listening, Teacher
from src.training.state import State

CPU = torch.device("cpu")
GENERATOR = np.random.default_rng(0)


def build_teacher(base="softmax", seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(1), nn.Linear(4 * 15 * 15, 3))
    return Teacher(wrap_network(network).eval(), BASES[base])


def make_batch(count=5):
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.eye(3)[[0] * count], torch.full((count, 3), 1 / 3), torch.ones(count))


def test_the_word_is_the_mean_of_teachers_and_files():
    teachers, batch = [build_teacher(seed=0), build_teacher("bce", seed=1)], make_batch()
    logits = [teacher.network(batch.images) for teacher in teachers]
    heard = Listening(teachers, BASES["softmax"], read=2)(batch, GENERATOR)
    expected = (logits[0].softmax(1) + logits[1].softmax(1) + 2 / 3) / 4  # of a bce teacher's logits too
    assert torch.allclose(heard.soft, expected) and not heard.soft.requires_grad
    assert all(one is other for one, other in zip(heard._replace(soft=batch.soft), batch, strict=True))
    independent = Listening(teachers, BASES["bce"], read=0)(batch, GENERATOR)
    assert torch.allclose(independent.soft, (logits[0].softmax(1) + logits[1].sigmoid()) / 2)


def learn(pack, soft, listen, transforms=()):
    """The weights after an epoch of a student of softmax that is taught with share .7 at temperature 2."""
    torch.manual_seed(0)
    network = wrap_network(nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.Flatten(1), nn.Linear(4 * 8 * 8, 3)))
    plain = LIGHT.__class__(**{**vars(LIGHT), "policy": "none"})
    data = make_training_set(pack, plain, soft=[soft], listen=listen, transforms=transforms)
    loss = Loss(BASES["softmax"], [], DistillSettings(0.7, 2.0, 0.0, "kl", "live"))
    fit(make_job(pack, network, loss, data, epochs=1, warmup=0), NoCurves(), State())
    return torch.cat([tensor.flatten() for tensor in network.state_dict().values()])


def test_without_augmentation_live_is_plain(pack):
    """The law that joins the two: a teacher says the same of the same pixels."""
    teacher = build_teacher()
    soft = predict_probs(teacher.network, pack[0], teacher.base, 8, CPU).astype(np.float32)
    plain = learn(pack, soft, ())
    live = learn(pack, pack[1], [Listening([teacher], BASES["softmax"], read=0)])
    assert torch.allclose(plain, live, atol=1e-5)
    assert not torch.allclose(plain, learn(pack, pack[1], ()), atol=1e-3)


def test_teachers_look_at_what_the_transforms_have_made(pack):
    seen = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean(dim=(2, 3))

    def darken(batch, generator):
        return batch._replace(images=batch.images * 0)

    listening = Listening([Teacher(Watching(), BASES["softmax"])], BASES["softmax"], read=0)
    learn(pack, pack[1], [listening], [darken])
    assert len(seen) == 3 and not torch.cat(seen).any()


def test_a_frozen_backbone_learns_from_pictures_while_it_listens(pack):
    """Features would be kept, but no images that a teacher could look at."""
    listening = Listening([build_teacher()], BASES["softmax"], read=0)
    job = make_job(pack, data=make_training_set(pack, views=2, listen=[listening]), freeze="backbone")
    assert learn_from_features(job) is job


def test_live_without_a_teacher_is_refused(place):
    edit_params(place, knowledge__teachers=[], distill__view="live")
    with pytest.raises(UserError, match=r"^params.yaml: distill.view: live needs a teacher .*, got none \("):
        read_params()
    edit_params(place, distill__share=0.0)
    assert read_params()["distill"]["view"] == "live"  # nothing is distilled
