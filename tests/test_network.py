"""What a network knows about itself: its classifier, its last feature map, the names of its state."""

import copy

import pytest
import torch

from src.networks.libraries import build_model


@pytest.mark.parametrize(
    "arch, classifier, feature_map, channels",
    [
        ("resnet18", ("fc",), "layer4", 512),
        ("mobilenetv3_small", ("classifier.3",), "features", 576),
        ("squeezenet1_1", ("classifier.1",), "classifier.0", 512),
        ("timm/test_resnet", ("fc",), "layer4", 96),
        ("timm/test_vit", ("head",), None, None),
    ],
)
def test_classifier_and_feature_map(arch, classifier, feature_map, channels):
    """The classifier's features are the mean of this map; a vision transformer ends in tokens."""
    network = build_model(arch, 3, "x").train()
    found = network.feature_map_name()
    assert network.training and network.classifier_names == classifier
    if feature_map is None:
        assert found is None
        return
    assert found.startswith(feature_map)
    maps = []
    network.net.get_submodule(found).register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, network.expected.height, network.expected.width))
    assert maps[0].ndim == 4 and maps[0].shape[1] == channels


def test_layers_of_the_classifier():
    network = build_model("mobilenetv3_small", 3, "x")
    assert network.is_in_classifier("classifier.3.weight") and not network.is_in_classifier(
        "classifier.0.weight"
    )
    assert [layer.out_features for layer in network.classifiers()] == [3]
    assert copy.deepcopy(network).classifier_names == network.classifier_names


def test_names_of_the_state_are_stable():
    """Existing weights files use these names."""
    names = list(build_model("timm/test_resnet", 3, "x").state_dict())
    assert names[:2] == ["normalize.mean", "normalize.std"]
    assert all(name.startswith("net.") for name in names[2:])
