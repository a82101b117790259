"""make serve-layout: what it writes is read as NVIDIA Triton reads it, and the network in it runs.

N pictures, C classes, H height, W width in pixels.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from src.export.deployed import Product
from src.export.settings import PictureRule
from src.export.with_onnx import FACTS, build_onnx
from src.ground.errors import UserError
from src.losses.bases import BASES
from src.networks.checkpoint import Facts
from src.networks.libraries import build_model
from src.pictures.decode import FORMATS
from src.results.calibration import Calibration
from tools import serve_layout

CLASSES = ("a b", "\u732b", 'c"')
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
    "Format": {"FORMAT_NONE": 0, "FORMAT_NHWC": 1, "FORMAT_NCHW": 2},
}
MESSAGES = {  # message -> name, number and type of its fields; + if there may be several
    "ModelDynamicBatching": [("preferred_batch_size", 1, "int32+")],
    "ModelInput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("format", 3, "Format"),
                   ("dims", 4, "int64+")],
    "ModelOutput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 3, "int64+"),
                    ("label_filename", 4, "string")],
    "ModelConfig": [("name", 1, "string"), ("platform", 2, "string"), ("max_batch_size", 4, "int32"),
                    ("input", 5, "ModelInput+"), ("output", 6, "ModelOutput+"),
                    ("dynamic_batching", 11, "ModelDynamicBatching")],
}  # fmt: skip


def find_config_type():
    """Triton's message ModelConfig, with the fields used here.

    Names and numbers are those of protobuf/model_config.proto in github.com/triton-inference-server/common;
    PyPI's tritonclient 2.73.0 holds the whole of it, but runs with older versions of protobuf only.
    """
    file = FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = "LABEL_REPEATED" if kind.endswith("+") else "LABEL_OPTIONAL"
            added = message.field.add(name=field, number=number, label=label)
            kind = kind.rstrip("+")
            if kind in (*ENUMS, *MESSAGES):
                added.type_name = f".inference.{kind}"
            added.type = FieldDescriptorProto.Type.Value(
                "TYPE_ENUM"
                if kind in ENUMS
                else "TYPE_MESSAGE"
                if kind in MESSAGES
                else f"TYPE_{kind.upper()}"
            )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.fixture(scope="module")
def exported():
    """The bytes of the ONNX file of a network with random weights, 33 x 48 pixels."""
    torch.manual_seed(0)
    none = {"pretrained": "none", "data": "", "params": "", "device": "cpu"}
    facts = Facts("timm/test_resnet", "softmax", CLASSES, 33, 48, (0.5,) * 3, (0.5,) * 3, **none)
    model, rule = build_model("timm/test_resnet", 3, "x"), PictureRule(FORMATS, 8, 64_000_000, "file")
    return build_onnx(Product(model, BASES["softmax"], facts, rule, Calibration(2.5, 0.3, 0.9), "", list))


def write_layout(monkeypatch, content, *arguments):
    """Run the tool on a file of these bytes."""
    serve_layout.STUDENT.parent.mkdir(parents=True, exist_ok=True)
    serve_layout.STUDENT.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["serve_layout", *arguments])
    serve_layout.main()


@pytest.mark.slow
def test_the_layout_is_what_triton_reads(place, exported, monkeypatch, capsys):
    write_layout(monkeypatch, exported, "--name", "cats_2-x")
    assert capsys.readouterr().out == "serve/cats_2-x: 3 classes, pictures of 33 x 48 pixels\n"
    folder = place / "serve/cats_2-x"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"1/model.onnx", "config.pbtxt", "labels.txt"}
    config = text_format.Parse((folder / "config.pbtxt").read_text(), find_config_type()())
    assert (config.name, config.platform, config.max_batch_size) == ("cats_2-x", "onnxruntime_onnx", 32)
    (given,), (answer,) = config.input, config.output
    types, formats = ENUMS["DataType"], ENUMS["Format"]
    assert (given.name, given.data_type, given.format) == (
        "images",
        types["TYPE_UINT8"],
        formats["FORMAT_NCHW"],
    )
    assert (answer.name, answer.data_type) == ("probabilities", types["TYPE_FP32"])
    assert list(given.dims) == [3, 33, 48] and list(answer.dims) == [3]
    assert config.HasField("dynamic_batching") and answer.label_filename == "labels.txt"
    assert (folder / "labels.txt").read_bytes().decode() == "".join(f"{name}\n" for name in CLASSES)
    assert (folder / "1/model.onnx").read_bytes() == exported


def test_the_network_of_the_layout_takes_batches(place, exported, monkeypatch):
    write_layout(monkeypatch, exported)
    session = onnxruntime.InferenceSession(place / "serve/student/1/model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 33, 48), dtype=np.uint8)
    (probs,) = session.run(["probabilities"], {"images": images})  # (N, C)
    assert probs.shape == (5, 3) and np.allclose(probs.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "\u732b", "a\n"])
def test_a_name_that_is_no_folder_of_a_repository_is_refused(place, monkeypatch, name):
    with pytest.raises(UserError, match="^--name: only letters, digits, _ and - can be in it, got "):
        write_layout(monkeypatch, b"", "--name", name)
    assert not (place / "serve").exists()


def test_without_the_onnx_file_the_remedy_is_told(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serve_layout"])
    line = (
        r"^data/export/student.onnx: not found \(add onnx to export.formats in params.yaml, then dvc repro\)$"
    )
    with pytest.raises(UserError, match=line):
        serve_layout.main()


def test_another_file_is_refused(place, exported, monkeypatch):
    """No ONNX at all, an empty one, and one without facts."""
    model = onnx.load_model_from_string(exported)
    model.ClearField("metadata_props")
    for content in (b"hello", b"", model.SerializeToString()):
        with pytest.raises(UserError, match="student.onnx: not a file that export_jit wrote"):
            write_layout(monkeypatch, content)
    assert not (place / "serve").exists()


@pytest.mark.parametrize(
    "facts",
    [
        "[]",
        "5",
        '{"classes": 5}',
        '{"classes": [1, 2, 3]}',
        '{"classes": ["a"]}',
        '{"classes": ["\\ud800", "b", "c"]}',
    ],
)
def test_facts_of_another_program_are_refused(place, exported, monkeypatch, facts):
    model = onnx.load_model_from_string(exported)
    (entry,) = [entry for entry in model.metadata_props if entry.key == FACTS]
    entry.value = facts
    with pytest.raises(UserError, match="student.onnx: not a file that export_jit wrote"):
        write_layout(monkeypatch, model.SerializeToString())
    assert not (place / "serve").exists()


def test_a_network_of_open_size_is_refused(place, exported, monkeypatch):
    """Triton would be told that its pictures have 0 pixels."""
    model = onnx.load_model_from_string(exported)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(UserError, match="student.onnx: not a file that export_jit wrote"):
        write_layout(monkeypatch, model.SerializeToString())


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_class_of_two_lines_is_refused(place, exported, monkeypatch, end):
    model = onnx.load_model_from_string(exported)
    (facts,) = [entry for entry in model.metadata_props if entry.key == FACTS]
    facts.value = json.dumps(json.loads(facts.value) | {"classes": [f"a{end}b", "b", "c"]})
    with pytest.raises(
        UserError, match=r"student.onnx: class 'a\\+[nr]b': its name must be one line"
    ) as error:
        write_layout(monkeypatch, model.SerializeToString())
    assert len(str(error.value).splitlines()) == 1 and not (place / "serve").exists()
