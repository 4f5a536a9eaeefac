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
    tag = tag_of(image)
    if tag is None or tag.split("-")[0] in _MOVING:
        notes.error(
            keys,
            image,
            expected=f"a fixed tag, such as {installed_ray()}-py312-gpu",
            remedy="pin it: otherwise nodes that start later run other software",
        )
        return
    inside = ray_of(image)
    if inside is None:
        return
    if ray is not None:
        if inside != ray:
            notes.error(keys, f"Ray {inside}", expected=f"Ray {ray}, as rayVersion says", remedy="make both the same")
    elif _minor(inside) != _minor(installed_ray()):
        notes.error(
            keys,
            f"Ray {inside}",
            expected=f"Ray {_minor(installed_ray())}, as on this machine",
            remedy=f"take an image with Ray {installed_ray()}, or install ray=={inside} here",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
