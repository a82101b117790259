"""Names as texts that matplotlib can draw, whatever characters they hold. C classes."""

from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.text import Text

LONGEST = 30  # characters of a name that are drawn
JOINERS = "\u200c\u200d"  # invisible, but part of words and of emoji
PLACEHOLDERS = "Last Resort"  # begins the name of the font that draws every character as an empty box
NUMBERED = "#n: class n of data/manifest/classes.json, from 0"


def letter_names(names: Sequence[str]) -> list[str]:
    """A text to draw for each name (C,), all different if the names are; see `NUMBERED`.

    Unprintable characters become escapes and the middle of a long name an ellipsis. A name that no installed
    font can draw becomes its number; all do if two texts would be the same.
    """
    texts = [cut_middle(escape_unprintable(name)) for name in names]
    texts = [text if can_draw(text) else f"#{number}" for number, text in enumerate(texts)]
    if len(set(texts)) < len(set(names)):
        texts = [f"#{number}" for number in range(len(names))]
    return [escape_dollars(text) for text in texts]


def letter_text(text: str) -> str:
    """A text to draw, as a path, with escapes for its unprintable characters."""
    return escape_dollars(escape_unprintable(text))


def escape_dollars(text: str) -> str:
    return text.replace("$", r"\$")  # a pair of plain dollars would start a formula


def explain_numbers(names: Sequence[str], texts: Sequence[str]) -> str:
    """The legend of names that `letter_names` drew as numbers; empty if there are none."""
    numbered = (
        text == f"#{number}" != name for number, (name, text) in enumerate(zip(names, texts, strict=True))
    )
    return NUMBERED if any(numbered) else ""


def escape_unprintable(name: str) -> str:
    """The name with line breaks, control characters, unpaired surrogates and the like as Python's escapes."""
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else ascii(letter)[1:-1] for letter in name
    )


def cut_middle(text: str) -> str:
    """A text of at most LONGEST characters: names often differ only at the end."""
    half = (LONGEST - 1) // 2
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1 - half]}\u2026{text[-half:]}"


def can_draw(text: str) -> bool:
    return all(find_family(letter) is not None for letter in text)


def use_fonts(figure: Figure) -> None:
    """Let every text of a figure take the letters that its font lacks from other installed fonts."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        others = list_families(text.get_text())
        if others:
            text.set_fontfamily([*text.get_fontfamily(), *others])


def list_families(text: Iterable[str]) -> list[str]:
    """The fonts besides the default one that the characters of a text need."""
    return [family for family in dict.fromkeys(map(find_family, text)) if family]


@cache
def find_family(letter: str) -> str | None:
    """A font that has the character: empty for the default font, None if no installed one has it."""
    if has_glyph(FontProperties(), letter) or letter == "\n":
        return ""
    return next((name for name in list_upright() if has_glyph(FontProperties(family=name), letter)), None)


@cache
def list_upright() -> list[str]:
    """The installed fonts that have an upright face of normal weight."""
    faces = [face for face in fontManager.ttflist if face.style == "normal" and face.weight == 400]
    return sorted({face.name for face in faces if not face.name.startswith(PLACEHOLDERS)})


@cache
def has_glyph(properties: FontProperties, letter: str) -> bool:
    """Whether matplotlib can draw the character in a font; it refuses some fonts of coloured emoji."""
    try:
        font = get_font(fontManager.findfont(properties, fallback_to_default=False))
        if ord(letter) not in font.get_charmap():
            return False
        font.set_size(10, 100)
        font.load_char(ord(letter))
    except (RuntimeError, ValueError, OSError):
        return False
    return True
