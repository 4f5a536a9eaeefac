"""A distribution with extensions, as an installer leaves it on the search path: modules, metadata, entry points."""

from pathlib import Path


def install(folder: Path, name: str, version: str, points: dict[str, dict[str, str]], modules: dict[str, str]) -> Path:
    """points: group -> name -> module or object; modules: name -> source. Returns the folder, for the search path."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {place}\n" for key, place in some.items()) for group, some in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    return folder
