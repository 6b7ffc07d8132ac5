"""The benchmarks' comparison of both sides, and their description of the conditions."""

import copy

import pytest

from benchmarks import again, lab, ready, results

INVENTORY = {
    "programs": [f"{number}0 {path}" for number, path in enumerate(ready.PROGRAMS)],
    "packages": ["containerd\t2.4.2"],
    "services": ["containerd.service"],
}


def test_other_programs_on_one_side_end_the_comparison():
    for programs in (["60 /usr/bin/kubelet", *INVENTORY["programs"][1:]], INVENTORY["programs"][1:], []):
        for side in ("airavata_runbook", "kubeadm"):
            found = {"airavata_runbook": copy.deepcopy(INVENTORY), "kubeadm": copy.deepcopy(INVENTORY)}
            found[side]["programs"] = programs
            with pytest.raises(SystemExit, match="not have the same programs"):
                ready.difference(found)


def test_what_only_one_side_has_is_reported():
    ours = INVENTORY | {"packages": [*INVENTORY["packages"], "etcd\t3.6.16"]}
    assert ready.difference({"airavata_runbook": ours, "kubeadm": INVENTORY}) == {
        "packages": {"airavata_runbook": ["etcd\t3.6.16"], "kubeadm": []},
        "services": {"airavata_runbook": [], "kubeadm": []},
    }


def test_the_conditions_name_machine_commit_and_versions():
    machine = lab.machine()
    conditions = results.conditions(machine)
    for name in ("commit", "processor", "memory_gib", "cores", "kernel", "python"):
        assert machine[name] and str(machine[name]) in conditions
    assert f"airavata_runbook {machine['versions']['airavata_runbook']}" in conditions


def test_a_run_that_changed_something_is_not_measured_as_an_unchanged_one():
    again.require_unchanged("again", "site again: 5 chapters in 6.1 s: 0 changed, 0 failed\n")
    again.require_unchanged("plan", "site again: 6 chapters in 5.1 s: 0 would change, 0 failed\n")
    again.require_unchanged("papermill", "")
    for what, output in (("again", ": 10 changed, 0 failed"), ("plan", ": 20 would change, 0 failed"), ("again", "")):
        with pytest.raises(SystemExit, match="not as it should be"):
            again.require_unchanged(what, output)
