"""Types of files, by name or first bytes: an image, an image that is not read, or no data at all."""

import re

ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "webp", "tif", "tiff", "gif", "avif"),
    *("ppm", "pgm", "pbm", "pnm"),
)
"""Endings of images that are read, in lower case."""

UNREAD = (
    *(
        "jp2",
        "j2k",
        "jpx",
        "jpf",
        "jpc",
        "heic",
        "heif",
        "hif",
        "jxl",
        "svg",
        "psd",
        "ico",
        "icns",
        "tga",
        "pcx",
        "eps",
    ),
    *("exr", "hdr", "xcf", "dds", "raw", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
)
"""Endings of images that are not read; such files are named in messages, as they were meant to be images."""

NO_IMAGES = (
    *(
        "txt",
        "md",
        "rst",
        "json",
        "jsonl",
        "xml",
        "csv",
        "tsv",
        "yaml",
        "yml",
        "toml",
        "html",
        "htm",
        "pdf",
        "ini",
        "cfg",
    ),
    *("db", "log", "py", "ipynb", "npy", "npz", "mat", "pkl", "h5", "zip", "gz", "tar", "parquet", "mp4", "mov", "avi"),
)
"""Endings of files that lie beside images; a file with any other ending is judged by its first bytes."""

JUNK_FOLDERS = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information")
"""Folders that file servers and systems put among others, in lower case."""

JUNK_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")

HEAD = 32
"""How many first bytes a file is judged by."""

_IMAGES = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"II\*\0|MM\0\*", "TIFF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb".{4}ftypavi[fs]", "AVIF"),
    (rb"BM.{4}\0{4}", "BMP"),
    (rb"P[1-6]\s+(#.*\n)?\s*\d+\s+\d+\s", "PPM"),
)
_UNREAD = (
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "JPEG XL"),
    (rb"8BPS", "Photoshop"),
)
_PACKED = (
    (rb"\x1f\x8b", "gzip"),
    (rb"BZh", "bzip2"),
    (rb"\xfd7zXZ\0", "xz"),
    (rb"\x28\xb5\x2f\xfd", "zstd"),
    (rb"PK\x03\x04", "zip"),
)


def ending(name: str) -> str:
    """The text after the last dot of a file's name, in lower case; "" without a dot."""
    return name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name.rpartition("/")[2] else ""


def image_format(head: bytes) -> str | None:
    """The format of an image that is read, by its first bytes."""
    return _first(_IMAGES, head)


def unread_format(head: bytes) -> str | None:
    """The format of an image that is not read, by its first bytes."""
    return _first(_UNREAD, head)


def packed_by(head: bytes) -> str | None:
    """The program that packed a file, by its first bytes."""
    return _first(_PACKED, head)


def _first(known: tuple[tuple[bytes, str], ...], head: bytes) -> str | None:
    return next((name for pattern, name in known if re.match(pattern, head, re.DOTALL)), None)


def no_data(name: str) -> str | None:
    """Why a file is no data whatever it holds, as a kind to count by; None where it may be data.

    name: its path below the images' location; a folder's ends with a slash.
    """
    *folders, base = name.split("/")
    for folder in folders:
        if folder.lower() in JUNK_FOLDERS:
            return f"in {folder} folders"
    if base.startswith("."):
        return "hidden (._*, .DS_Store and the like)"
    return base if base.lower() in JUNK_FILES else None


def by_ending(name: str) -> str:
    """The kind under which a file that is no image is counted."""
    return f".{ending(name)}" if ending(name) else "without an ending"
