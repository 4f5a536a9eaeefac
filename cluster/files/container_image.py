"""Container images: pinned by a tag, with the version of Ray that is expected."""

from cluster.files.document import Keys
from cluster.files.finding import Notes
from cluster.files.render import installed_ray, ray_of, tag_of

_MOVING = ("latest", "nightly", "master", "main")


def check_image(notes: Notes, keys: Keys, image: object, *, ray: str | None = None) -> None:
    """Note an image that is not pinned, or has another version of Ray.

    ray: the version that the file itself names; without one, the minor version that is installed here.
    """
    if not isinstance(image, str) or not image:
        notes.error(keys, image, expected="a container image", remedy="put REPOSITORY:TAG there")
        return
    tag, inside = tag_of(image), ray_of(image)
    if tag is None or tag.split("-")[0] in _MOVING:
        expected = f"a fixed tag, such as {installed_ray()}-py312-gpu"
        remedy = "pin it: otherwise nodes that start later run other software"
        notes.error(keys, image, expected=expected, remedy=remedy)
    elif inside is not None and ray is not None and inside != ray:
        expected = f"Ray {ray}, as rayVersion says"
        notes.error(keys, f"Ray {inside}", expected=expected, remedy="make both the same")
    elif inside is not None and ray is None and _minor(inside) != _minor(installed_ray()):
        remedy = f"take an image with Ray {installed_ray()}, or install ray=={inside} here"
        expected = f"Ray {_minor(installed_ray())}, as on this machine"
        notes.error(keys, f"Ray {inside}", expected=expected, remedy=remedy)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
