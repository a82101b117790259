"""Names of entries that systems and programs create in folders of pictures for themselves."""

import re
from fnmatch import fnmatchcase, translate

JUNK = {  # who writes it -> patterns, in lower case
    "macOS": (
        ".ds_store", "._*", "__macosx", "icon\r", "icon\uf00d", ".appledouble", ".fseventsd", ".apdisk",
        ".spotlight-v100", ".trashes", ".temporaryitems", ".documentrevisions-v100", ".localized",
        ".com.apple.*", "network trash folder",
    ),
    "Windows": (
        "thumbs.db", "thumbs.db[:\uf03a\uf022]*", "ehthumbs*.db", "desktop.ini",
        "*[:\uf03a\uf022._]zone.identifier", "*[:\uf03a\uf022]smartscreen", "$recycle.bin",
        "system volume information", "~$*",
    ),
    "a NAS": (
        "@eadir", "*@synoeastream", "*@synoresource", "#recycle", "#snapshot", "@recycle",
        "@recently-snapshot", "@__thumb", ".@__thumb", "@tmp", ".snapshot", ".zfs",
    ),
    "a phone": (".nomedia", ".thumbnails", ".thumbdata*", ".trashed-*", ".pending-*"),
    "Linux": ("lost+found", ".directory", ".trash-*", ".nfs*", ".fuse_hidden*"),
    "a program": (
        ".ipynb_checkpoints", "__pycache__", ".git", ".gitkeep", ".gitignore", ".dropbox*", ".stfolder",
        ".picasa.ini", "picasa.ini", ".picasaoriginals",
    ),
}  # fmt: skip
EXACT = {name: who for who, names in JUNK.items() for name in names if not set("*?[") & set(name)}
PATTERNS = [(pattern, who) for who, names in JUNK.items() for pattern in names if pattern not in EXACT]
ANY = re.compile("|".join(translate(pattern) for pattern, _ in PATTERNS))  # one match, not 20, for most names


def find_author(name: str) -> str:
    """Who writes an entry of this name, whatever its case; empty if it is not known as junk."""
    lowered = name.lower()
    if lowered in EXACT:
        return EXACT[lowered]
    if ANY.match(lowered):
        return next(who for pattern, who in PATTERNS if fnmatchcase(lowered, pattern))
    return ""
