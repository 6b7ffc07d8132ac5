"""SSH servers on loopback for tests: paramiko's in this process, and OpenSSH's sshd where this machine has one."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest

KINDS = ("ed25519", "ecdsa", "rsa")
CACHE = Path(os.environ.get("AIRAVATA_RUNBOOK_CACHE") or "~/.cache/airavata-runbook").expanduser()
IMAGES = [image for image in sorted(CACHE.glob("lab/host-*")) if (image / "usr/sbin/sshd").is_file()]  # of lab hosts


def keygen(file: Path, kind: str = "ed25519", passphrase: str = "", bits: int = 0, form: str = "") -> Path:
    """A key pair made by ssh-keygen; its private file."""
    options = [*(("-b", str(bits)) if bits else ()), *(("-m", form) if form else ())]
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", file, *options], check=True)
    return file


def public(file: Path) -> str:
    """Type and key of a pair, as in known_hosts and authorized_keys."""
    return " ".join(Path(f"{file}.pub").read_text().split()[:2])


def fingerprint(file: Path) -> str:
    """As ssh-keygen prints it."""
    return subprocess.run(["ssh-keygen", "-lf", f"{file}.pub"], capture_output=True, text=True, check=True).stdout.split()[1]


@dataclass
class Server(paramiko.ServerInterface):
    """A server that runs nothing: each command succeeds without output. Attributes can be changed between connections.

    keys: host keys, as files. users: accepted public keys. allowed: methods of authentication. delay: seconds before a key is
    accepted. more: methods that are wanted after a key. options: paramiko's SecurityOptions to set, such as ciphers.
    """

    keys: list[Path]
    users: list[str] = field(default_factory=list)
    allowed: str = "publickey"
    delay: float = 0.0
    greeting: float = 0.0
    more: bool = False
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    port: int = 0
    logins: list[str] = field(default_factory=list)
    connections: int = 0

    def get_allowed_auths(self, username):
        return "keyboard-interactive" if self.more else self.allowed

    def check_auth_none(self, username):
        return paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        if "publickey" not in self.allowed or f"{key.get_name()} {key.get_base64()}" not in self.users:
            return paramiko.AUTH_FAILED
        time.sleep(self.delay)
        self.logins.append(username)
        return paramiko.AUTH_PARTIALLY_SUCCESSFUL if self.more else paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        def end():
            channel.send_exit_status(0)
            channel.close()

        threading.Timer(0.05, end).start()
        return True

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        try:
            self._targets[chanid] = socket.create_connection(destination)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        return paramiko.OPEN_SUCCEEDED

    def serve(self, listener: socket.socket) -> None:
        self._targets: dict[int, socket.socket] = {}
        self._loaded = [paramiko.PKey.from_path(key) for key in self.keys]
        with suppress(OSError):  # the listener was closed
            while True:
                threading.Thread(target=self._connection, args=(listener.accept()[0],), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        self.connections += 1
        time.sleep(self.greeting)
        transport = paramiko.Transport(sock)
        for name, value in self.options.items():
            setattr(transport.get_security_options(), name, value)
        for key in self._loaded:
            transport.add_server_key(key)
        with suppress(OSError, EOFError, paramiko.SSHException):
            transport.start_server(server=self)
        while transport.is_active():
            channel = transport.accept(0.1)
            if channel and (target := self._targets.pop(channel.get_id(), None)):
                for source, sink in ((channel, target), (target, channel)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source, sink) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.close()


@contextmanager
def accepting(listener: socket.socket, serve: Callable[[], None]) -> Iterator[None]:
    """Runs `serve`, which ends when the listener's accept() raises OSError, in a thread that is gone when the block is.

    close() alone leaves the thread in accept4(2). A signal restarts that call with the same descriptor, which by then may be the
    next server's listener: the thread took that one's first connection, and answered it with its own keys.
    """
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def serving(keys: list[Path], users: list[Path] = (), **settings) -> Iterator[Server]:
    """A Server of paramiko's on a port of loopback, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(keys, [public(user) for user in users], port=listener.getsockname()[1], **settings)
        with accepting(listener, lambda: server.serve(listener)):
            yield server


@contextmanager
def sshd(folder: Path, keys: list[Path], user: Path, *lines: str) -> Iterator[int]:
    """The port of OpenSSH's own server, this machine's or a lab image's; skips the test where there is none or no root.

    lines: further ones of its configuration. user: whose public key is accepted, as root.
    """
    program, libraries = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"), ""
    if not program:
        if not IMAGES:
            pytest.skip("no sshd on this machine")
        program, libraries = f"{IMAGES[-1]}/usr/sbin/sshd", f"{IMAGES[-1]}/usr/lib/x86_64-linux-gnu"
    if os.geteuid():
        pytest.skip("sshd needs root")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "authorized_keys").write_text(public(user) + "\n")
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n")
    config = [f"Port {port}", "ListenAddress 127.0.0.1", f"PidFile {folder}/pid", f"AuthorizedKeysFile {folder}/authorized_keys"]
    config += ["UsePAM no", "StrictModes no", "PermitRootLogin yes", *(f"HostKey {key}" for key in keys), *lines]
    (folder / "sshd_config").write_text("\n".join(config) + "\n")
    script = (  # its user and its folder exist in a mount namespace of its own
        f"mount --bind {folder}/passwd /etc/passwd; mount -t tmpfs none /run; mkdir /run/sshd; "
        f"export LD_LIBRARY_PATH={libraries}; exec {program} -D -e -f {folder}/sshd_config"
    )
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                pytest.skip(f"sshd does not run here: {(folder / 'sshd.log').read_text()[-300:]}")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def openssh(port: int, known: Path, user: Path, *options: str, name: str = "127.0.0.1") -> bool:
    """Whether OpenSSH's client takes the host key of a server, by that file of known hosts, and logs in."""
    call = ["ssh", "-F", "none", "-p", str(port), "-i", str(user), "-o", f"UserKnownHostsFile={known}"]
    call += [
        f"-o{one}" for one in ("GlobalKnownHostsFile=none", "BatchMode=yes", "StrictHostKeyChecking=yes", "IdentityAgent=none")
    ]
    done = subprocess.run([*call, *options, f"root@{name}", "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode in (0, 255), done.stderr
    return done.returncode == 0
