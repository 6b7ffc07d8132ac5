"""Users and roles in etcd, and the role bindings of the admin: the commands follow from what etcd and the API server report."""

import base64
import json
import os
import subprocess

import pytest

from airavata_runbook.configs import control_plane
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet
from airavata_runbook.resources import EtcdAccess, RoleBinding
from airavata_runbook.resources.etcd_access import ANSWER, range_end

CONTEXT = Context(None, None)
ACCESS = EtcdAccess({"flannel": "/net/"})


def role(*permissions: tuple[str, str, int]) -> dict:
    encoded = [tuple(base64.b64encode(part.encode()).decode() for part in (key, end)) for key, end, _ in permissions]
    kinds = [{"permType": kind} if kind else {} for _, _, kind in permissions]  # etcd's JSON leaves out 0, which is READ
    return {"perm": [{**kind, "key": key, "range_end": end} for kind, (key, end) in zip(kinds, encoded, strict=True)]}


def found(status: dict, root: list, flannel: list) -> Found:
    return Found("\n".join(map(json.dumps, [status, *root, *flannel])).encode())


RIGHT = role(("/net/", "/net0", 2))
ROOT = [{"roles": ["root"]}, {}]


def commands(answer: Found) -> list[str]:
    change = ACCESS.change(answer, CONTEXT)
    return change.detail.replace("etcdctl ", "").splitlines() if change else []


def test_a_fresh_etcd_gets_users_and_roles_before_authentication():
    assert commands(found({}, [None, None], [None, None])) == [
        "role add root",
        "user add root --no-password",
        "user grant-role root root",
        "role add flannel",
        "role grant-permission flannel readwrite /net/ --prefix",
        "user add flannel --no-password",
        "user grant-role flannel flannel",
        "auth enable",
    ]


def test_what_is_right_needs_no_change():
    assert commands(found({"enabled": True}, ROOT, [{"roles": ["flannel"]}, RIGHT])) == []


def test_an_interrupted_creation_is_completed():
    assert commands(found({}, ROOT, [None, RIGHT])) == [
        "user add flannel --no-password",
        "user grant-role flannel flannel",
        "auth enable",
    ]


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ([("/", "0", 2)], ["role revoke-permission flannel / 0", "role grant-permission flannel readwrite /net/ --prefix"]),
        ([("/net/", "/net0", 2), ("/registry/x", "", 0)], ["role revoke-permission flannel /registry/x"]),
        (
            [("/net/", "/net0", 0)],
            ["role revoke-permission flannel /net/ /net0", "role grant-permission flannel readwrite /net/ --prefix"],
        ),
    ],
)
def test_a_role_that_may_do_more_or_less_is_corrected(permissions, expected):
    assert commands(found({"enabled": True}, ROOT, [{"roles": ["flannel"]}, role(*permissions)])) == expected


def test_authentication_that_was_disabled_is_enabled_again():
    assert commands(found({}, ROOT, [{"roles": ["flannel"]}, RIGHT])) == ["auth enable"]


def test_an_etcd_that_does_not_answer_is_awaited():
    with pytest.raises(NotYet, match="etcd answers"):
        ACCESS.change(Found(b"", 1), CONTEXT)


def test_the_end_of_a_range_is_the_first_key_after_the_prefix():
    assert range_end("/registry/") == "/registry0"


def test_a_role_binding_is_created_corrected_or_left():
    binding = RoleBinding(control_plane.bindings()[0])
    live = {**binding.manifest, "metadata": {"name": binding.name, "uid": "1"}}
    other = {**live, "roleRef": {**live["roleRef"], "name": "view"}}

    def change(*items: dict):
        return binding.change(Found(json.dumps({"items": items}).encode()), CONTEXT)

    assert change(live) is None
    assert change().summary == "create" and "delete" not in change().script
    assert change(other).summary == "change" and "delete --raw" in change(other).script
    with pytest.raises(NotYet, match="the API server runs"):
        binding.change(Found(b"", 1), CONTEXT)


@pytest.fixture
def with_etcdctl(tmp_path, monkeypatch):
    """A function that runs a script with a stand-in for etcdctl, which logs its command and then does what a script says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def run(script: str, body: str) -> tuple[subprocess.CompletedProcess[str], str]:
        (tmp_path / "etcdctl").write_text(f'#!/bin/sh\nlast="${{*##*.key }}"; echo "$last" >> {tmp_path}/log\n{body}\n')
        (tmp_path / "etcdctl").chmod(0o755)
        short = script.replace(f"timeout {ANSWER} ", "timeout 0.3 ")
        done = subprocess.run(["sh", "-c", short], capture_output=True, text=True, timeout=20)
        return done, (tmp_path / "log").read_text()

    return run


STOPPED = 'case "$last" in *"auth status"*) echo "{}";; *) exec sleep 60;; esac'  # etcd stops after the first answer


def test_an_etcd_that_stops_is_not_taken_for_one_without_users(with_etcdctl):
    done, _ = with_etcdctl(ACCESS.probe(), STOPPED)
    assert done.returncode == 1
    with pytest.raises(NotYet, match="etcd answers"):
        ACCESS.change(Found(done.stdout.encode(), status=1), CONTEXT)


def test_a_missing_user_is_null(with_etcdctl):
    done, _ = with_etcdctl(ACCESS.probe(), 'case "$last" in *"auth status"*) echo "{}";; *) exit 1;; esac')
    assert done.returncode == 0 and done.stdout.split() == ["{}", *["null"] * 4]


def test_a_change_ends_when_etcd_stops_and_says_so(with_etcdctl):
    change = ACCESS.change(found({}, [None, None], [None, None]), CONTEXT)
    done, log = with_etcdctl(f"set -e\n{change.script}", 'case "$last" in "role add root") ;; *) exec sleep 60;; esac')
    assert done.returncode == 124 and done.stderr == f"etcd has not answered within {ANSWER} s\n"
    assert log.splitlines() == ["role add root", "user add root --no-password"], "nothing is done after it"


def test_a_change_is_refused_with_the_words_of_etcdctl(with_etcdctl):
    change = ACCESS.change(found({}, [None, None], [None, None]), CONTEXT)
    done, log = with_etcdctl(f"set -e\n{change.script}", "echo permission denied >&2; exit 1")
    assert done.returncode == 1 and done.stderr == "permission denied\n" and log == "role add root\n"
