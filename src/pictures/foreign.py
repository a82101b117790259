"""Files that are no pictures, or pictures of a format that is not read: their names and what to do with them.

A file is known by its first bytes, whatever its name ends in.
"""

import re

CONVERT = "convert it to JPEG or PNG"
RAW = "a camera's raw picture is not read ({}: develop it to JPEG or 8-bit TIFF, as by darktable-cli)"
VIDEO = "not a picture but a video ({}: extract frames by ffmpeg -i IN OUT%03d.png)"
ARCHIVE = "not a picture but an archive ({}: unpack it)"
REMOVE = "remove it from the class folder"

HEIC = "a HEIC picture is not read (convert it to JPEG, as by heif-convert IN OUT.jpg)"
JPEG_XL = "a JPEG XL picture is not read (convert it, as by djxl IN OUT.png)"
IPHONE = "an iPhone's own PNG is not read (convert it, as by pngcrush -revert-iphone-optimizations)"
TGA = f"a TGA picture is not read ({CONVERT})"
EPS = f"an EPS or PostScript drawing is not read, it is a program ({CONVERT} yourself)"
SVG = "an SVG drawing is not read (convert it, as by rsvg-convert IN -o OUT.png)"
HTML = "not a picture but an HTML page (the download failed: download it again or remove it)"
TEXT = f"not a picture but text ({REMOVE})"

MAGIC: tuple[tuple[int, bytes, str], ...] = (  # offset, bytes, reason with its remedy
    (0, b"\xff\x0a", JPEG_XL),
    (12, b"CgBI", IPHONE),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (128, b"DICM", "a DICOM file is not read (convert it, as by dcmj2pnm --write-16-bit-png IN OUT.png)"),
    (0, b"\0\0\1\0", f"an ICO icon is not read ({CONVERT})"),
    *((0, b"\0\0" + kind + b"\0\0\0\0\0", TGA) for kind in (b"\2", b"\3", b"\x0a", b"\x0b")),
    (0, b"\0\0\2\0", f"a CUR cursor is not read ({CONVERT})"),
    (0, b"icns", f"an ICNS icon is not read ({CONVERT})"),
    (0, b"%PDF", "not a picture but a PDF document (convert its pages, as by pdftoppm -png IN OUT)"),
    (0, b"%!PS", EPS),
    (0, b"\xc5\xd0\xd3\xc6", EPS),
    (0, b"8BPS", f"a Photoshop PSD file is not read ({CONVERT})"),
    (0, b"gimp xcf", f"a GIMP XCF file is not read ({CONVERT})"),
    (0, b"\x76\x2f\x31\x01", f"an OpenEXR picture is not read ({CONVERT})"),
    (0, b"#?RADIANCE", f"a Radiance HDR picture is not read ({CONVERT})"),
    (0, b"SIMPLE  =", "a FITS file is not read (convert it to 16-bit PNG or TIFF)"),
    (344, b"n+1\0", "a NIfTI volume is not read (convert its slices to 16-bit PNG)"),
    (0, b"DDS ", f"a DDS texture is not read ({CONVERT})"),
    (0, b"qoif", f"a QOI picture is not read ({CONVERT})"),
    (0, b"\x01\xda", f"an SGI picture is not read ({CONVERT})"),
    (0, b"\x59\xa6\x6a\x95", f"a Sun raster picture is not read ({CONVERT})"),
    (0, b"AT&TFORM", f"a DjVu document is not read ({CONVERT})"),
    (0, b"BPG\xfb", f"a BPG picture is not read ({CONVERT})"),
    (0, b"FLIF", f"a FLIF picture is not read ({CONVERT})"),
    (0, b"II\xbc\x01", f"a JPEG XR picture is not read ({CONVERT})"),
    (0, b"\xd7\xcd\xc6\x9a", f"a WMF drawing is not read ({CONVERT})"),
    (40, b" EMF", f"an EMF drawing is not read ({CONVERT})"),
    (0, b"PF\n", "a float PFM picture is not read (save it as 16-bit PGM, PNG or TIFF)"),
    (0, b"Pf\n", "a float PFM picture is not read (save it as 16-bit PGM, PNG or TIFF)"),
    (0, b"P7\n", f"a PAM picture is not read ({CONVERT})"),
    (8, b"CR\x02", RAW.format("Canon CR2")),
    (0, b"II\x1a\0\0\0HEAPCCDR", RAW.format("Canon CRW")),
    (0, b"FUJIFILMCCD-RAW", RAW.format("Fujifilm RAF")),
    (0, b"IIRO", RAW.format("Olympus ORF")),
    (0, b"IIRS", RAW.format("Olympus ORF")),
    (0, b"MMOR", RAW.format("Olympus ORF")),
    (0, b"IIU\0", RAW.format("Panasonic RW2")),
    (0, b"FOVb", RAW.format("Sigma X3F")),
    (0, b"\0MRM", RAW.format("Minolta MRW")),
    (0, b"\x1aE\xdf\xa3", VIDEO.format("Matroska or WebM")),
    (0, b"FLV\x01", VIDEO.format("FLV")),
    (0, b"\0\0\1\xba", VIDEO.format("MPEG")),
    (0, b"\0\0\1\xb3", VIDEO.format("MPEG")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", VIDEO.format("WMV")),
    (4, b"moov", VIDEO.format("MOV")),
    (4, b"mdat", VIDEO.format("MOV")),
    (4, b"wide", VIDEO.format("MOV")),
    (8, b"AVI ", VIDEO.format("AVI")),
    (8, b"WAVE", f"not a picture but a sound ({REMOVE})"),
    (0, b"ID3", f"not a picture but a sound ({REMOVE})"),
    (0, b"PK\3\4", ARCHIVE.format("ZIP, or an office document")),
    (0, b"PK\5\6", ARCHIVE.format("ZIP")),
    (0, b"\x1f\x8b", ARCHIVE.format("gzip")),
    (0, b"Rar!", ARCHIVE.format("RAR")),
    (0, b"7z\xbc\xaf", ARCHIVE.format("7z")),
    (0, b"BZh", ARCHIVE.format("bzip2")),
    (0, b"\xfd7zXZ", ARCHIVE.format("xz")),
    (0, b"\x28\xb5\x2f\xfd", ARCHIVE.format("zstd")),
    (257, b"ustar", ARCHIVE.format("tar")),
    (0, b"\x93NUMPY", "not a picture but a NumPy array (save it as PNG)"),
    (0, b"\x89HDF", "not a picture but an HDF5 file (save its pictures as PNG)"),
    (0, b"SQLite format 3", f"not a picture but a database ({REMOVE})"),
    (0, b"\xd0\xcf\x11\xe0", f"not a picture but an office document or a thumbnail store ({REMOVE})"),
    (0, b"\0\5\x16\7", f"not a picture but macOS's notes on one, AppleDouble ({REMOVE})"),
    (0, b"\x7fELF", f"not a picture but a program ({REMOVE})"),
    (0, b"MZ", f"not a picture but a program ({REMOVE})"),
    (0, b"version https://git-lfs", "not a picture but a pointer of Git LFS to one (git lfs pull)"),
    (0, b"\0\0\0\0\0\0\0\0", "not a picture but zeros, a failed copy (copy it again or remove it)"),
)
BRANDS = {  # of ISO media files, at byte 8 after ftyp; AVIF and JPEG 2000 are read
    b"crx ": RAW.format("Canon CR3"),
    b"jxl ": JPEG_XL,
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"MiHE"), HEIC),
}
READ = {  # formats that are read, by their first bytes: Pillow's name
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}  # fmt: skip
MARKUP = re.compile(
    rb"\s*(?:<\?xml.{0,2000}?|<!--.{0,2000}?-->|<!doctype svg.{0,2000}?)*<svg[\s>]", re.I | re.S
)
PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)", re.I)
PREVIEW = RAW.format("DNG, NEF, ARW or similar; the TIFF's first picture is a small preview")


def explain_foreign(content: bytes) -> str:
    """Why a file of a known other format is refused, with the remedy; empty if it may be a picture."""
    head = content[:4096].removeprefix(b"\xef\xbb\xbf")
    if head[4:8] == b"ftyp":
        brands = (head[8:12], *(head[at : at + 4] for at in range(16, 64, 4)))
        if brands[0] in (b"avif", b"avis") or b"avif" in brands:
            return ""
        return BRANDS.get(brands[0], VIDEO.format("MP4 or MOV"))
    for offset, magic, reason in MAGIC:
        if head.startswith(magic, offset):
            return reason
    if MARKUP.match(head):
        return SVG
    if PAGE.match(head):
        return HTML
    return ""


def find_format(content: bytes) -> str:
    """Pillow's name of a format that is read, as the first bytes say; empty if they say none."""
    if content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return "AVIF"
    return next((name for magic, name in READ.items() if content.startswith(magic)), "")


def explain_unknown(content: bytes) -> str:
    """Why a file that no decoder knows is refused, with the remedy."""
    return TEXT if is_text(content[:512]) else f"not a picture of a known format ({REMOVE}, or {CONVERT})"


def is_text(head: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters but for spaces and line ends."""
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 512 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)
