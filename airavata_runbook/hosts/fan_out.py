"""Fan-out: files that several hosts of a step need are uploaded once, to one host, from which the others fetch them.

That host, the source, serves them on the private network with a second sshd for as long as the step lasts: read-only, as
`nobody`, with a client key and a host key generated for this step. The configuration of the host's own sshd and all
authorized_keys files stay unchanged. If a host cannot fetch (a blocked port, no sftp), it gets its files from this machine,
and its report says why.
"""

import re
import shlex
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeVar

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts import heartbeat
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.ssh_library import paramiko

T = TypeVar("T")
USER = "nobody"  # exists on every Linux, without shell and password; can read world-readable files
PORTS = (22022, 22023)  # tried when the registry listens on its port already
ANSWER_TIMEOUT = 30.0  # seconds for the server to start, and to stop
CONNECT_TIMEOUT = 5  # seconds for a host to connect to the source
FETCH_TIMEOUT = 3600.0  # seconds for all files that a host fetches at a time

SERVE = """sshd=$(command -v sshd) || { echo it has no sshd; exit; }
dir=$(mktemp -d /run/airavata-runbook.XXXXXX) || exit
server=
end() {
    trap '' HUP INT TERM
    # The listener's children serve one host each.
    [ -z "$server" ] || kill $server $(cat /proc/$server/task/*/children) 2>/dev/null
    wait
    rm -rf $dir
}
trap end EXIT; trap 'exit 1' HUP INT TERM
chmod 755 $dir
(umask 077; dd bs=1 count=%(size)d of=$dir/host_key 2>/dev/null)
echo '%(public)s' > $dir/authorized_keys
cat > $dir/sshd_config <<END
ListenAddress %(address)s
HostKey $dir/host_key
PidFile $dir/pid
AuthorizedKeysFile $dir/authorized_keys
AuthenticationMethods publickey
AllowUsers %(user)s
UsePAM no
DisableForwarding yes
PermitTTY no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -R
MaxStartups 200
END
ended() { [ ! -e /proc/$server ] || grep -q '^State:.[ZX]' /proc/$server/status; }
for port in %(ports)s; do
    $sshd -D -e -f $dir/sshd_config -p $port </dev/null >$dir/log 2>&1 &
    server=$!
    until [ -s $dir/pid ] || ended; do sleep 0.05; done  # it listens before it writes that file
    [ ! -s $dir/pid ] || break
done
if [ -s $dir/pid ]; then echo port $port; else tail -n 1 $dir/log; exit; fi
%(listen)s
"""

FETCH_ALL = """set -e
command -v sftp >/dev/null || {{ echo it has no sftp; exit 1; }}
dir=$(mktemp -d /run/airavata-runbook.XXXXXX)
end() {{ trap '' HUP INT TERM; rm -rf $dir {parts}; }}
trap end EXIT; trap 'exit 1' HUP INT TERM
(umask 077; cat > $dir/key) <<'END'
{key}END
echo '[{address}]:{port} {known}' > $dir/known_hosts
mkdir -p {folders}
timeout {limit:.0f} sftp -b - -F none -P {port} -i $dir/key -o IdentitiesOnly=yes -o IdentityAgent=none \\
    -o ConnectTimeout={connect} -o ServerAliveInterval=10 -o StrictHostKeyChecking=yes -o LogLevel=ERROR \\
    -o UserKnownHostsFile=$dir/known_hosts -o GlobalKnownHostsFile=/dev/null {user}@{address} >/dev/null <<'END'
{gets}END
sha256sum -c --quiet <<'END'
{sums}END
{moves}"""


@dataclass(frozen=True, order=True)
class Shared:
    """A file that several hosts need. path: on each of them. sha256: hexadecimal."""

    path: str
    sha256: str


@dataclass(frozen=True)
class _KeyPair:
    """A one-time ed25519 key. private: OpenSSH's form, in memory only. public: one line, without a comment."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def new(cls) -> Self:
        key = Ed25519PrivateKey.generate()
        return cls(
            key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode(),
            key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode(),
        )


class FanOut:
    """The shared files of one step: `with FanOut(source, hosts, port) as fan_out`. Safe to use from the hosts' threads.

    source: the host that the others fetch from. hosts: all hosts of the step; if the source is not one of them, no host
    fetches. port: on which it serves, if nothing listens there yet.
    """

    def __init__(self, source: Host, hosts: Iterable[Host], port: int):
        self.source, self.port = source, port
        self._changed = threading.Condition()  # guards the following attributes
        self._at_source: set[Shared] = set()
        self._ended = source not in list(hosts)  # the source gets no more files in this step
        self._missing: defaultdict[str, set[Shared]] = defaultdict(set)  # host → files that it has not fetched yet
        self._failures: dict[str, str] = {}  # host → why it does not fetch any more
        self._starting = threading.Lock()
        self._server: _Server | None = None
        self._asking = threading.Lock()
        self._asked: list[object] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc) -> None:
        if self._server:
            self._server.close()

    def ask(self, question: Callable[[], object]) -> object:
        """What `question`, about the source, answered first. Hosts that choose among sources by it all choose the same one: of
        two that choose each other, because one did not answer for a moment, each would wait for the other.
        """
        with self._asking:
            if not self._asked:
                self._asked.append(question())
            return self._asked[0]

    def watch(self, host: Host, work: Callable[[], T]) -> T:
        """Returns `work()`; when the source's work ends or fails, no host waits for it any more."""
        try:
            return work()
        finally:
            if host is self.source:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()

    def note(self, host: Host, file: Shared, present: bool) -> None:
        """Record whether a host has the file; a host that has not will fetch it."""
        with self._changed:
            if host is self.source and present:
                self._at_source.add(file)
                self._changed.notify_all()
            elif host is not self.source and not present:
                self._missing[host.name].add(file)

    def fetch(self, host: Host, file: Shared) -> str:
        """Copy a file from the source to `host`, with all others that the host needs and the source has by now.

        Waits until the source has it. Returns why that failed, or "". Raises HostUnreachable when `host` is lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: file in self._at_source or self._ended)
            if file not in self._at_source:
                return f"{self.source.name} does not have it"
            if file not in self._missing[host.name]:
                return self._failures.get(host.name, "")  # it was fetched together with an earlier one
            batch = self._missing[host.name] & self._at_source
            self._missing[host.name] -= batch
        failure = self._failures.get(host.name) or self._fetch(host, sorted(batch))
        if failure:
            self._failures[host.name] = failure
        return failure

    def _fetch(self, host: Host, files: list[Shared]) -> str:
        with self._starting:
            self._server = self._server or _Server(self.source, (self.port, *PORTS))
        if not self._server.port:
            return f"{self.source.name} does not serve it: {self._server.failure}"
        result = host.run(self._server.fetch_script(files), timeout=FETCH_TIMEOUT)
        if not result.status:
            return ""
        return f"from {self.source.name}: {result.last_lines.splitlines()[0] if result.last_lines else 'no output'}"


class _Server:
    """The source's sshd for this step. It ends with `close`, with the connection, or when heartbeats stop.

    port: on which it listens; 0 when it did not start, then failure says why.
    """

    def __init__(self, source: Host, ports: tuple[int, ...]):
        self.source, self.port, self.failure = source, 0, ""
        self.host_key, self.user_key = _KeyPair.new(), _KeyPair.new()
        self.channel: paramiko.Channel | None = None
        self.heartbeats: threading.Thread | None = None
        answer = ""
        try:
            self.channel = source.start(self._script(ports), self.host_key.private.encode())
            self.channel.settimeout(ANSWER_TIMEOUT)
            answer = self.channel.makefile("rb").readline().decode(errors="replace").strip()
        except HostUnreachable as error:
            self.failure = error.message
        except OSError:
            pass  # no answer
        if listening := re.fullmatch("port ([0-9]{1,5})", answer):
            self.port = int(listening[1])
            self.heartbeats = threading.Thread(target=heartbeat.send_heartbeats, args=(self.channel,), daemon=True)
            self.heartbeats.start()
        else:
            self.failure = self.failure or answer or "no answer"

    def close(self) -> None:
        """Stop it, and wait until it has ended."""
        if not self.channel:
            return
        self.channel.settimeout(ANSWER_TIMEOUT)
        with suppress(OSError, EOFError, paramiko.SSHException):  # the connection is lost, and the server ended with it
            self.channel.shutdown_write()
            self.channel.makefile("rb").read()
        self.channel.close()
        if self.heartbeats:
            self.heartbeats.join()

    def _script(self, ports: tuple[int, ...]) -> str:
        return SERVE % {
            "address": self.source.node.address,
            "ports": " ".join(map(str, ports)),
            "user": USER,
            "public": self.user_key.public,
            "size": len(self.host_key.private),
            "listen": heartbeat.listener(),
        }

    def fetch_script(self, files: list[Shared]) -> str:
        """The script with which a host fetches all files, verified, or none. It contains a key: pass it on stdin only."""
        parts = {file: f"{file.path}.part" for file in files}
        return FETCH_ALL.format(
            key=self.user_key.private,
            known=self.host_key.public,
            port=self.port,
            address=self.source.node.address,
            user=USER,
            connect=CONNECT_TIMEOUT,
            limit=FETCH_TIMEOUT,
            parts=shlex.join(parts.values()),
            folders=shlex.join(sorted({file.path.rpartition("/")[0] or "/" for file in files})),
            gets="".join(f'get "{_escaped(file.path)}" "{_escaped(part)}"\n' for file, part in parts.items()),
            sums="".join(f"{file.sha256}  {part}\n" for file, part in parts.items()),
            moves="".join(f"mv -f {shlex.quote(part)} {shlex.quote(file.path)}\n" for file, part in parts.items()),
        )


def _escaped(path: str) -> str:
    """A path for sftp's double quotes."""
    return "".join("\\" + letter if letter in '\\"' else letter for letter in path)
