"""The entrypoint of a run on Kubernetes is read as `dkvb run` reads it, and its pods are as large as its spec needs."""

import re

import pytest

from cluster.files.render import render
from jobs.kinds import KINDS
from jobs.spec.library import shipped_text

pytestmark = pytest.mark.usefixtures("one_version_of_ray")
WORDS = (
    "dkvb run cifar10\n    --root s3://edit-me/roots/cifar10 --images s3://edit-me/images/cifar10\n    --address auto"
)


@pytest.fixture
def one_version_of_ray(monkeypatch):
    from cluster.files import container_image

    monkeypatch.setattr("cluster.files.render.installed_ray", lambda: "2.60.0")
    monkeypatch.setattr(container_image, "installed_ray", lambda: "2.60.0")


@pytest.fixture
def said(tmp_path):
    """What a check says of the entrypoint of a file, or of its pods."""
    from cluster.files.check import check
    from jobs.cli.entrypoint import check_entrypoint

    def found(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        every = check(path, more=check_entrypoint)
        return [
            f"{each.severity}: found {each.found}, expected {each.expected}"
            for each in every
            if each.where.endswith(".entrypoint") or ".resources." in each.where
            if each.expected != "a value of yours"
        ]

    return found


def entered(words):
    text = render("kuberay")
    assert WORDS in text
    return text.replace(
        WORDS, words if "--images" in words else words.replace("dkvb run", "dkvb run --images s3://a/i")
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("dkvb run cifar10 --rot s3://a/b --address auto", ["error: found no such option: --rot, expected --root"]),
        ("dkvb run cifar10 --rot=s3://a/b --address auto", ["error: found no such option: --rot, expected --root"]),
        (
            "dkvb run cifar10 --gpu 1 --rot s3://a/b --adress auto",
            [
                "error: found no such option: --gpu, expected --gpus",
                "error: found no such option: --rot, expected --root",
                "error: found no such option: --adress, expected --address auto",
            ],
        ),
        (
            "dkvb run cifar10 --root s3://a/b --address auto --frobnicate 7",
            ["error: found no such option: --frobnicate, expected an option of `dkvb run`"],
        ),
        ("dkvb run cifar10", ["error: found no --root, expected --root",
                              "error: found no --address auto, expected --address auto"]),
    ],
)  # fmt: skip
def test_options_are_those_of_the_command(words, says, said):
    found = said(entered(words).replace(" --workers 4 --gpus 1", ""))
    assert found == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("dkvb run imagenet1k-clp --root s3://a/b --address auto", "did you mean 'imagenet1k-clip'?"),
        ("dkvb run cifar10 --root s3://a/b --address auto --set keys.sampel=7", "did you mean 'sample'?"),
        ("dkvb run cifar10 --root s3://a/b --address auto --workers two", "Invalid value for '--workers'"),
        ("dkvb run cifar10 tinyimages --root s3://a/b --address auto", "unexpected extra argument (tinyimages)"),
        ("dkvb run --root s3://a/b --address auto", "Missing argument 'SPEC'"),
        ("bash -c 'cd /x && /opt/bin/dkvb run cifra10 --root s3://a/b --address auto'", "did you mean 'cifar10'?"),
    ],
)
def test_words_that_the_command_refuses_are_told(words, says, said):
    (found,) = said(entered(words).replace(" --workers 4 --gpus 1", ""))
    assert found.startswith("error: ")
    assert says in found


@pytest.mark.parametrize(
    "words",
    [
        "env A=b dkvb run cifar10 --root s3://a/b --address auto 2>&1 | tee log",
        "dkvb run /specs/mine.toml --root $ROOT --address auto",
        "dkvb run $SPEC --root s3://a/b --address=auto --workers $N",
        "dkvb run s3://a/photos --root s3://a/b --address auto",
        "dkvb run cifar10 --root s3://a/b --address auto -v --log-file /var/log/none/dkvb.log; sleep 3",
        "python -m mine.driver --rot x",
        "dkvb run 'cifar10 --root s3://a/b --address auto",
    ],
)
def test_what_a_shell_or_a_pod_makes_of_words_is_not_judged(words, said):
    assert said(entered(words).replace(" --workers 4 --gpus 1", "")) == []


def test_a_spec_of_ones_own_that_cannot_be_read_here_is_a_warning_and_one_that_can_is_measured(
    said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "mine.toml"
    own.write_text(shipped_text("imagenet1k-clip").replace('"imagenet1k-clip"', '"mine"'))
    text = entered("dkvb run mine.toml --root s3://a/b --address auto")
    text = text.replace("memory: 4Gi", "memory: 24Gi").replace("storage: 10Gi", "storage: 20Gi")
    assert said(text) == []
    (found,) = said(text.replace('"7", memory: 24Gi', '"7", memory: 12Gi'))
    assert "of mine needs 16." in found
    own.write_text("name = 7\n")
    (found,) = said(text)
    assert found.startswith("warning: found dkvb run mine.toml, expected a spec that it takes: mine.toml: ")


def test_images_are_asked_for_where_the_spec_reads_any(said):
    text = render("kuberay").replace(" --images s3://edit-me/images/cifar10", "")
    assert said(text) == ["error: found no --images, expected --images"]
    assert said(text.replace("dkvb run cifar10", "dkvb run digits")) == []


@pytest.mark.parametrize("spec", ["imagenet1k-clip", "cifar10"])
def test_pods_that_are_rendered_for_a_spec_have_room_for_it(spec, dkvb, tmp_path):
    path = tmp_path / "run.yaml"
    assert dkvb("cluster", "render", "--provider", "kuberay", "--for", spec, "-o", path).code == 0
    assert (
        f"dkvb run {spec}\n    --root s3://edit-me/roots/{spec} --images s3://edit-me/images/{spec}\n"
        in path.read_text()
    )
    ended = dkvb("cluster", "check", path)
    assert ended.code == 0
    assert ".resources." not in ended.out


def test_a_spec_of_ones_own_is_named_as_pods_may_have_it(dkvb, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text(dkvb("spec", "cifar10").out)
    text = dkvb("cluster", "render", "--provider", "kueue", "--for", own).out
    assert "dkvb run /edit-me/mine.toml\n    --root s3://edit-me/roots/mine --images s3://edit-me/images/mine\n" in text


@pytest.mark.parametrize("provider", ["kuberay", "kueue"])
def test_the_comment_at_the_workers_without_a_gpu_names_the_steps_that_have_one(provider):
    (named,) = re.findall(r"# For the steps that compute on no GPU: all but (.*)\.", render(provider))
    assert {*re.split(", | and ", named)} == {kind for kind, step in KINDS.items() if step.ON_GPU}
