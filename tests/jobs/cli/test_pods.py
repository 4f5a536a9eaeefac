"""Pods that have not what the entrypoint asks for: GPUs on one node, a folder that all share, room for each step."""

import re

import pytest

from cluster.files.check import check
from cluster.files.render import Run, render
from jobs.cli.entrypoint import check_entrypoint

CLIP = Run(spec="imagenet1k-clip", gpu_memory=10, cpu_memory=19, disk=18)
GPU, CPU = 'limits: {cpu: "3", memory: ', 'limits: {cpu: "7", memory: '


@pytest.fixture
def said(tmp_path):
    """What a check says of a file, each with the line that it is about, but for what is still to edit or unknown."""

    def found(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        lines = text.splitlines()
        return [
            (lines[each.line - 1].strip(), str(each).partition(": ")[2])
            for each in check(path, more=check_entrypoint)
            if each.where.endswith(".entrypoint") or ".resources." in each.where
            if each.expected != "a value of yours"
        ]

    return found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (", nvidia.com/gpu: 1", "", "--gpus 1 and no pod with a GPU, expected a worker group with nvidia.com/gpu: 1"),
        ("--gpus 1", "--gpus 4", "--gpus 4 and pods with at most 1, expected a worker group with nvidia.com/gpu: 4"),
        ("--gpus 1", "--gpus 1.5", "expected a worker group with nvidia.com/gpu: 2; each worker holds so many"),
        ("&start\n", '&start\n          num-gpus: "0"\n', "found --gpus 1 and no pod with a GPU"),
    ],
)  # fmt: skip
def test_gpus_that_no_pod_has_are_an_error(old, new, says, said):
    text = render("kuberay")
    assert old in text
    ((line, found),) = said(text.replace(old, new))
    assert line == "entrypoint: >-"
    assert found.startswith("error: ")
    assert says in found
    for fits in ("--gpus 0", "--gpus 0.5"):
        assert said(text.replace("--gpus 1", fits)) == []


def test_each_group_has_room_for_the_largest_step_of_its_kind(said):
    text = render("kuberay", run=CLIP)
    assert said(text) == []
    ((line, found),) = said(text.replace("memory: 19Gi", "memory: 8Gi"))
    assert line.startswith(CPU + "8Gi")
    assert re.search(
        r"warning: .*workerGroupSpecs\[1\].*: found 8Gi in pods of cpu, expected 19Gi or more: step \S+ of "
        r"imagenet1k-clip needs 16\.\d GiB, and Ray 2 GiB; raise it",
        found,
    )
    ((line, found),) = said(text.replace("memory: 10Gi", "memory: 9Gi").replace("memory: 19Gi", "memory: 64Gi"))
    assert line.startswith(GPU + "9Gi")
    assert "found 9Gi in pods of gpu, expected 10Gi or more: step embeddings" in found
    ((line, found),) = said(text.replace("memory: 8Gi", "memory: 200Mi"))
    assert line == 'limits: {cpu: "2", memory: 200Mi}'
    assert "found 200Mi in pods of the head, expected 3Gi or more: Ray needs 2 GiB, and the driver" in found


def test_pods_of_one_kind_have_room_for_all_steps(said):
    text = render("kuberay", run=CLIP)
    head, _, _ = text.partition("      # For the steps that compute on no GPU")
    ((line, found),) = said(head)
    assert line.startswith(GPU + "10Gi")
    assert "expected 19Gi or more: step linear" in found
    without = (
        text.replace(", nvidia.com/gpu: 1", "").replace("--gpus 1", "--gpus 0").replace("memory: 10Gi", "memory: 9Gi")
    )
    ((line, found),) = said(without)
    assert line.startswith(GPU + "9Gi")
    assert "expected 19Gi or more: step linear" in found


def test_a_disk_that_ray_alone_fills_is_said_so(said):
    text = render("kuberay", run=CLIP)
    cpu, gpu = said(text.replace("ephemeral-storage: 18Gi", "ephemeral-storage: 9Gi"))[::-1]
    assert "found 9Gi in pods of cpu, expected 18Gi or more: step values of imagenet1k-clip needs" in cpu[1]
    assert (
        "found 9Gi in pods of gpu, expected 10Gi or more: Ray needs 10 GiB for what it spills, logs and code;" in gpu[1]
    )


MOUNT = "volumeMounts: [{name: shared, mountPath: /shared}]\n"
VOLUME = "volumes: [{name: shared, persistentVolumeClaim: {claimName: a}}]\n"


def mounted(text):
    """The file with a volume in all pods."""
    text = re.sub(r"^( +)(containers:\n)", lambda at: f"{at[1]}{VOLUME}{at[0]}", text, flags=re.MULTILINE)
    return re.sub(r"^( +)(env: .*\n)", lambda at: f"{at[1]}{MOUNT}{at[0]}", text, flags=re.MULTILINE)


@pytest.mark.parametrize("option", ["root", "images"])
@pytest.mark.parametrize(
    ("place", "without"),
    [("/shared/a", ""), ("/data/a", "the head, gpu, cpu"), ("roots/a", "the head, gpu, cpu"), ("$HOME/a", ""),
     ("file:///shared/a", ""), ("file:///data", "the head, gpu, cpu"), ("gs://a/b", "")],
)  # fmt: skip
def test_a_folder_that_pods_do_not_share_is_warned_of(option, place, without, said):
    text = mounted(render("kuberay"))
    assert text.count("mountPath") == text.count("claimName") == 3
    text = re.sub(rf"--{option} \S+", f"--{option} {place}", text)
    found = [each for line, each in said(text) if line == "entrypoint: >-"]
    assert [f"where no volume is mounted in {without}, " in each for each in found] == [True] * bool(without)
    own = said(text.replace("persistentVolumeClaim: {claimName: a}", "emptyDir: {}", 1))
    assert any("is mounted in the head, expected" in each for _, each in own) == ("/shared" in place)
