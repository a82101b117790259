"""Names of entries that systems and programs create in folders of pictures for themselves."""

from fnmatch import fnmatchcase

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


def find_author(name: str) -> str:
    """Who writes an entry of this name, whatever its case; empty if it is not known as junk."""
    lowered = name.lower()
    return next(
        (who for who, patterns in JUNK.items() if any(fnmatchcase(lowered, one) for one in patterns)), ""
    )
