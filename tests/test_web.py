"""The page that classifies in a browser: its resize is Pillow's, its input the demo's, its answers too."""

import base64
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from conftest import ROOT, load_demo
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from src.export.deployed import Product
from src.export.formats import FORMATS
from src.export.gate import run_classifier
from src.export.settings import PictureRule
from src.export.web import fill_page, read_part, write_web
from src.losses.bases import BASES
from src.networks.checkpoint import Facts
from src.networks.libraries import build_model
from src.pictures.decode import FORMATS as PICTURE_FORMATS
from src.results.calibration import Calibration
from tools.web_runtime import PACKAGE, pack

CLASSES = ("</script><b>a", "\u732b", "c", "<!--<script>", "e", "f")
NODE = shutil.which("node")
RESIZE = """
const fs = require("fs");
const fit = new Function(fs.readFileSync(process.argv[1], "utf8") + "; return fitPicture")();
for (const line of fs.readFileSync(0, "utf8").trim().split("\\n")) {
  const [pixels, ...rest] = JSON.parse(line);
  console.log(Buffer.from(fit(Buffer.from(pixels, "base64"), ...rest)).toString("base64"));
}
"""
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt-get install chromium)")


def encode(content):
    return base64.b64encode(content).decode()


@pytest.mark.skipif(NODE is None, reason="no node (apt-get install nodejs)")
def test_a_picture_is_fitted_byte_for_byte_as_by_pillow():
    demo, generator = load_demo(), np.random.default_rng(0)
    inputs = [(32, 32), (33, 48), (64, 20), (96, 96)]
    sizes = [(32, 32), (1, 1), (1, 500), (500, 1), (64, 64), (33, 32), (290, 3), (33, 18), (600, 400)]
    sizes += [tuple(map(int, generator.integers(1, 200, 2))) for _ in range(60)]
    cases, wanted = [], []
    for number, (height, width) in enumerate(sizes):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        into = inputs[number % len(inputs)]
        for fit in demo.FITS:
            cases.append(json.dumps([encode(pixels.tobytes()), height, width, *into, fit]))
            wanted.append(encode(demo.fit_picture(Image.fromarray(pixels), *into, fit).tobytes()))
    command = [NODE, "-e", RESIZE, ROOT / "src/export/fitting.js"]
    done = subprocess.run(command, input="\n".join(cases), capture_output=True, text=True, check=True)
    assert done.stdout.split() == wanted


@pytest.fixture(scope="module")
def product():
    """A network with random weights."""
    torch.manual_seed(0)
    model = build_model("timm/test_resnet", len(CLASSES), "x").eval()
    none = {"pretrained": "none", "data": "", "params": "", "device": "cpu"}
    facts = Facts("timm/test_resnet", "softmax", CLASSES, 33, 48, (0.5,) * 3, (0.5,) * 3, **none)
    rule = PictureRule(PICTURE_FORMATS, 8, 64_000_000, (0, 4095))
    calibration = Calibration(temperature=0.25, threshold=0.3, wanted_accuracy=0.9)
    return Product(model, BASES["softmax"], facts, rule, calibration, "0" * 64, seen=list)


@pytest.fixture(scope="module")
def page(product, tmp_path_factory):
    path = tmp_path_factory.mktemp("web") / FORMATS["web"].file
    write_web(path, product)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Smooth pictures of several kinds; noise would be decoded alike only where no JPEG has blurred it."""
    folder, (rows, columns) = tmp_path_factory.mktemp("pictures"), np.mgrid[:90, :70]
    bands = 128 + 100 * np.sin(rows / 9), 128 + 100 * np.cos(columns / 7), (rows + columns) % 256
    colours = Image.fromarray(np.stack(bands, -1).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    gamma = PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))  # linear: a browser would show it brighter
    alpha = Image.fromarray((columns * 3).astype(np.uint8))
    transparent = colours.copy()
    transparent.putalpha(alpha)
    noise = np.random.default_rng(0).integers(0, 256, (1100, 30, 3), dtype=np.uint8)
    colours.save(folder / "colours.png")
    colours.save(folder / "gamma.png", pnginfo=gamma)
    colours.save(folder / "photo.jpg", quality=90, subsampling=0)
    colours.save(folder / "small_colours.jpg", quality=90, subsampling=2)
    colours.save(folder / "turned.jpg", quality=90, subsampling=0, exif=turned)
    colours.save(folder / "turned.png", exif=turned)
    colours.save(folder / "lossless.webp", lossless=True)
    colours.convert("L").save(folder / "grey.png")
    colours.convert("L").save(folder / "grey.jpg", quality=90)
    colours.quantize(16).save(folder / "palette.png")
    transparent.save(folder / "transparent.png")
    Image.fromarray(noise).save(folder / "noise.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    camera = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    with Browser(tmp_path_factory.mktemp("profile"), *camera) as browser:
        yield browser


@pytest.fixture
def opened(browser, page):
    """The browser with the page, ready; its console must stay empty."""
    browser.complaints.clear()
    browser.open(page)
    browser.run("network.then(() => 1)")
    yield browser
    assert not browser.complaints


def classify(browser, path):
    """The input (3, H, W) and probabilities (C,) of a picture file, and whether the page is unsure."""
    content = f"Uint8Array.from(atob('{encode(path.read_bytes())}'), (one) => one.charCodeAt(0))"
    told = "({ ...said, input: Array.from(said.input) })"
    said = browser.run(f"classifyBytes({content}).then((said) => {told})")
    return np.array(said["input"]).reshape(3, 33, 48), np.array(said["probabilities"]), said["unsure"]


def show(browser, *paths):
    """Pick files; returns the text of the page when all are classified."""
    browser.pick("#pick", paths)
    return browser.run(
        "new Promise((done) => setTimeout(() => queue.then(() => done(document.body.innerText)), 100))"
    )


@pytest.mark.slow
def test_the_demo_runs_the_network_in_the_page(product, page, pictures):
    demo = load_demo()
    network, facts = demo.load(page)
    assert facts == json.loads(product.about) and facts["classes"] == list(CLASSES)
    pixels = [demo.read(path, facts) for path in pictures]
    images = torch.tensor(demo.to_array(pixels, 33, 48))
    with torch.inference_mode():
        wanted = product.deployed(images).numpy()
    assert np.abs(np.array(network(pixels)) - wanted).max() < 1e-5
    assert np.abs(run_classifier(page, pictures, CLASSES) - wanted).max() < 1e-5


def test_the_page_is_always_the_same_and_holds_no_class_as_html(product, page, tmp_path):
    write_web(tmp_path / "again.html", product)
    text = page.read_text(encoding="utf-8")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text
    ours = text.replace(read_part("runtime.js"), "")
    assert ours.count("</script>") == ours.count("<script") == 4
    assert "<b>" not in ours and "src=" not in ours and "http" not in ours
    assert pack(b"x") == pack(b"x") and PACKAGE in text


def test_a_page_without_a_network_is_refused(tmp_path):
    demo, path = load_demo(), tmp_path / "x.html"
    path.write_text("<html></html>")
    with pytest.raises(demo.NoNetwork, match="^not an exported network: no network in this page "):
        demo.load(path)
    path.write_text(fill_page(b"x", "{}"))
    with pytest.raises(demo.NoNetwork, match="^not an exported network: "):
        demo.load(path)


@in_a_browser
@pytest.mark.slow
def test_the_page_sees_and_says_what_the_demo_does(opened, page, pictures):
    demo = load_demo()
    network, facts = demo.load(page)
    for path in pictures:
        pixels = demo.read(path, facts)
        (wanted,), (probs,) = demo.to_array([pixels], 33, 48), network([pixels])
        seen, said, unsure = classify(opened, path)
        allowed = 1 if path.suffix == ".jpg" or path.name == "transparent.png" else 0  # rounded otherwise
        assert np.abs(seen - wanted.astype(int)).max() <= allowed, path.name
        assert np.abs(said - probs).max() < 1e-3, path.name
        assert unsure == demo.is_unsure(facts, probs)


@in_a_browser
@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1400, False)])
def test_pictures_are_shown(browser, page, pictures, width, dark):
    browser.complaints.clear()
    browser.open(page, width, dark)
    bad = pictures[0].with_name("bad.png")
    bad.write_text("no picture")
    text = show(browser, *pictures, bad)
    bad.unlink()
    assert "bad.png: not a picture that this browser can read" in text and "12 of 13 classified" in text
    assert text.count("%") == 12 * 5 and text.count("ms (network") == 12
    assert browser.run("document.querySelectorAll('.card').length") == 12
    assert browser.run("document.documentElement.scrollWidth") == width
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(13, 17, 23)") == dark
    assert not browser.complaints


@in_a_browser
def test_nothing_is_loaded(opened, page, pictures):
    show(opened, pictures[0])
    assert page.as_uri() in opened.requests
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "blob", "data"}


@in_a_browser
@pytest.mark.slow
def test_a_class_is_only_text(opened, page, pictures):
    network, facts = load_demo().load(page)
    probs = load_demo().classify(network, facts, pictures[0])
    show(opened, pictures[0])
    shown = opened.run("[...document.querySelectorAll('.class')].map((one) => one.textContent)")
    assert shown == [CLASSES[number] for number in np.argsort(probs)[:0:-1]]  # all but the last
    assert opened.run("document.querySelectorAll('b').length") == 0
    told = opened.run("document.getElementById('network-facts').textContent")
    assert told.startswith("classes" + ", ".join(CLASSES))


@in_a_browser
def test_what_the_rule_refuses(opened, tmp_path):
    Image.new("RGB", (7, 50)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "empty.png").touch()
    text = show(opened, *sorted(tmp_path.glob("*.png")))
    assert "small.png: 7 x 50 pixels are too small: at least 8 are needed" in text
    assert "deep.png: 16-bit grey" in text and "empty.png: empty file" in text
    assert "0 of 3 classified" in text


@in_a_browser
def test_the_camera(opened):
    opened.run("startCamera()")
    assert opened.run("document.getElementById('view').hidden") is False
    opened.run("document.getElementById('shoot').click()")
    opened.run("queue")
    assert opened.run("document.querySelector('.name').textContent").startswith("camera, ")
    opened.run("document.getElementById('camera').click()")
    assert opened.run("document.getElementById('video').srcObject === null")
    assert opened.run("document.getElementById('view').hidden")


@in_a_browser
@pytest.mark.parametrize(
    "devices, said",
    [
        ("undefined", "this browser gives no camera to this page: pick or drop pictures instead"),
        (
            "{ getUserMedia: () => Promise.reject({ name: 'NotFoundError' }) }",
            "there is no camera",
        ),
    ],
)
@pytest.mark.slow
def test_without_a_camera(opened, devices, said):
    opened.run(f"Object.defineProperty(navigator, 'mediaDevices', {{ value: {devices} }})")
    opened.run("startCamera()")
    assert said in opened.run("document.getElementById('problems').textContent")
