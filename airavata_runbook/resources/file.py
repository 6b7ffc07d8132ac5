"""Files on a host: whole files, folders, a marked block in a shared file, and large files copied from this machine."""

import base64
import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.hosts.fan_out import FanOut, Shared
from airavata_runbook.local.files import AS_IT_IS, Head
from airavata_runbook.local.terminal import Transfer

Content = str | bytes | Callable[[], str | bytes]
END = "END-OF-FILE"
# The processor's own instructions, which openssl uses, take a third of the time; both print the digest first.
DIGEST = "if command -v openssl > /dev/null; then openssl dgst -sha256 -r; else sha256sum; fi"
LOOK = re.compile(rb"([0-7]+) (\S+:\S+) ([a-z -]+)\n(?:([0-9a-f]{64})  -\n|([A-Za-z0-9+/]*=*))")
FOLDER = re.compile(r"[0-7]+ \d+:\d+ [a-z -]+")
PEM = re.compile(r"(-----BEGIN (CERTIFICATE|PGP PUBLIC KEY BLOCK|PGP SIGNATURE)-----)\n[A-Za-z0-9+/=\n]+\n(-----END \2-----)")


@dataclass(frozen=True)
class File:
    """A whole file, root's. content: text, bytes, or a function that returns it (it may raise NotYet).

    secret: the probe reads only its digest, and no content is ever shown. Missing parent folders are created, mode 755.
    """

    path: str
    content: Content
    mode: str = "0644"
    secret: bool = False

    @property
    def label(self) -> str:
        return f"file {self.path}"

    def footprint(self) -> Footprint:
        return (Touch("file", self.path),)

    def probe(self) -> str:
        path = quote(self.path)
        look = f"sha256sum < {path}" if self.secret else f"base64 -w0 < {path}"
        return f"test -e {path} || exit {ABSENT}; stat -c '%a %U:%G %F' {path}; test ! -f {path} || {look}"

    def write_script(self) -> str:
        """Shell that writes the whole file, with its mode, root's."""
        return self._write(self._bytes())

    def _write(self, content: bytes) -> str:
        # The new file is complete before it replaces the old one, which an interrupted run leaves in place.
        part = self.path + ".new"
        return _feed(f"umask 077; {self._install(part)}", content) + f"mv -fT {quote(part)} {quote(self.path)}\n"

    def _install(self, path: str) -> str:
        return f"install -D -m {self.mode} -o root -g root /dev/stdin {quote(path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        wanted = self._bytes()
        old = None if found.absent else self._look(found)
        summary = self._difference(*old, wanted) if old else "create"
        if not summary:
            return None
        remark = "   # a secret" if self.secret else "   # with the content above on its standard input"
        return Change(
            summary,
            self._detail(old, wanted),
            script=self._write(wanted),
            shown=self._install(self.path) + remark,
            touches=frozenset({self.path}),
        )

    def _detail(self, old: tuple[str, str, str, bytes] | None, wanted: bytes) -> str:
        """The diff to show. Content that is not world-readable on the host is left out: it may contain a key."""
        if self.secret:
            return ""
        if old is None or old[-1] == wanted or int(old[0], 8) & 0o044:
            return text_diff(old and old[-1], wanted, self.path)
        return f"(the old content is not shown: mode {old[0]})\n" + text_diff(None, wanted, self.path)

    def _bytes(self) -> bytes:
        content = self.content() if callable(self.content) else self.content
        return content.encode() if isinstance(content, str) else content

    def _difference(self, mode: str, owner: str, kind: str, content: bytes, wanted: bytes) -> str:
        if kind == "directory":
            raise StepFailed(
                "a folder is in the place of a file",
                found=self.path,
                needed="a file or nothing",
                remedy="find out what it is used for, and move it away",
            )
        if not kind.startswith("regular"):
            return f"replace a {kind}"
        if content != (hashlib.sha256(wanted).hexdigest().encode() if self.secret else wanted):
            return "new content"
        if int(mode, 8) != int(self.mode, 8):
            return f"mode {mode} → {self.mode.lstrip('0')}"
        return f"owner {owner} → root:root" if owner != "root:root" else ""

    def _look(self, found: Found) -> tuple[str, str, str, bytes]:
        """Mode, owner, kind and content (of a secret: its digest) in the probe's output. Raises ValueError."""
        parsed = LOOK.fullmatch(found.stdout)
        if not parsed or (bool(parsed[4]) != self.secret and parsed[3].startswith(b"regular")):
            raise ValueError("no mode, owner, kind and content")
        mode, owner, kind = (part.decode() for part in parsed.group(1, 2, 3))
        return mode, owner, kind, parsed[4] or base64.b64decode(parsed[5] or b"", validate=True)


@dataclass(frozen=True)
class Folder:
    """A folder with its mode and owner (numeric); a symbolic link to one is followed. Its content is not changed."""

    path: str
    mode: str = "0755"
    owner: str = "0:0"

    @property
    def label(self) -> str:
        return f"folder {self.path}"

    def footprint(self) -> Footprint:
        return (Touch("folder", self.path),)

    def probe(self) -> str:
        return f"test -e {quote(self.path)} || exit {ABSENT}; stat -L -c '%a %u:%g %F' {quote(self.path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        wanted = f"{self.mode.lstrip('0')} {self.owner} directory"
        state = found.text.strip()
        if not found.absent and not FOLDER.fullmatch(state):
            raise ValueError("no mode, owner and kind")
        if state == wanted:
            return None
        user, group = self.owner.split(":")
        # Only a mode of five digits clears the setgid bit that a new folder inherits from its parent (chmod(1)).
        return Change(
            "create" if found.absent else f"{state} → {wanted}",
            touches=frozenset({self.path}),
            script=f"install -d -m {self.mode} -o {user} -g {group} {quote(self.path)}\n"
            f"chmod {self.mode:0>5} {quote(self.path)}\n",
        )


@dataclass(frozen=True)
class Block:
    """Some lines in a file that others edit as well, between two marker comments; all other lines are kept."""

    path: str
    name: str
    lines: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"block {self.name} in {self.path}"

    def footprint(self) -> Footprint:
        return (Touch("lines", self.path),)

    def probe(self) -> str:
        return f"test -e {quote(self.path)} || exit {ABSENT}; base64 -w0 < {quote(self.path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        old = b"" if found.absent else base64.b64decode(found.stdout, validate=True)
        # All other lines are kept byte for byte, whatever their encoding.
        new = with_block(old.decode(errors="surrogateescape"), self.name, self.lines).encode(errors="surrogateescape")
        if new == old:
            return None
        return Change(
            "new lines",
            text_diff(old, new, self.path),
            script=self._edit(new),
            shown=f"edit {self.path}",
            touches=frozenset({self.path}),
        )

    def _edit(self, content: bytes) -> str:
        # The new file is complete before it replaces the old one, so that an interruption loses no lines. Only a bind mount
        # (as /etc/hosts in a container) or a link cannot be replaced, and is written in place.
        path, part = quote(self.path), quote(self.path + ".new")
        return (
            f"test ! -e {path} || cp --preserve=all {path} {part}\n"
            + _feed(f"cat > {part}", content)
            + f"if mountpoint -q {path} || test -L {path}; then cat {part} > {path}; rm {part}\n"
            f"else mv -f {part} {path}; fi\n"
        )


@dataclass(frozen=True)
class Upload:
    """A large file that is copied from this machine. source: its local path. sha256: its digest (hexadecimal), or a function
    that returns it (it may raise NotYet while there is no such file). head: returns what the copy begins with instead.

    fan_out: given when several hosts want the file: the others then fetch it from the one that has it.
    """

    path: str
    source: Path
    sha256: str | Callable[[], str]
    fan_out: FanOut | None = None
    head: Callable[[], Head] = lambda: AS_IT_IS

    @property
    def label(self) -> str:
        return f"file {self.path}"

    def footprint(self) -> Footprint:
        return (Touch("file", self.path),)

    def probe(self) -> str:
        return f"{DIGEST} < {quote(self.path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        sha256 = self.sha256() if callable(self.sha256) else self.sha256
        there = not found.status and found.text.split()[:1] == [sha256]
        if self.fan_out:
            self.fan_out.note(context.host, Shared(self.path, sha256), there)
        if there:
            return None
        size = f"{self.source.stat().st_size / 1e6:.1f} MB"
        fan_out, shown = None, f"scp {Path(self.path).name} {context.host.name}:{self.path}   # {size}"
        if self.fan_out and context.host is not self.fan_out.source:
            fan_out = self.fan_out
            shown = f"sftp {fan_out.source.name}:{self.path} {self.path}   # {size}, inside the private network"
        return Change(
            "create" if found.status else "replace",
            detail=f"sha256 {sha256}",
            shown=shown,
            call=lambda: self._copy(context, sha256, fan_out),
            touches=frozenset({self.path}),
        )

    def _copy(self, context: Context, sha256: str, fan_out: FanOut | None) -> str:
        failure, size = "", self.source.stat().st_size
        if fan_out:
            context.say(f"{self.label}, {size / 1e6:.0f} MB from {fan_out.source.name}")
            failure = fan_out.fetch(context.host, Shared(self.path, sha256))
        if failure or not fan_out:
            shown = Transfer(size, lambda text: context.say(f"{self.label}, {text}"))
            context.host.send(self.source, self.path, self.head(), shown)
        return failure and f"sent from this machine ({failure})"


def with_block(text: str, name: str, lines: tuple[str, ...]) -> str:
    """`text` with `lines` in the block `name`, which is replaced if it exists, else appended."""
    begin, end = f"# BEGIN {name}", f"# END {name}"
    block = "\n".join([begin, *lines, end]) + "\n"
    head, found, rest = text.partition(begin + "\n")
    if not found:
        return (text if text.endswith("\n") or not text else text + "\n") + block
    _, closed, tail = rest.partition(end + "\n")
    return head + block + (tail if closed else rest)


def text_diff(old: bytes | None, new: bytes, path: str) -> str:
    """A unified diff; of binary content only the size."""
    try:
        before = _readable(old or b"").splitlines(keepends=True)
        after = _readable(new).splitlines(keepends=True)
    except UnicodeDecodeError:
        return f"binary, {len(new)} bytes"
    lines = difflib.unified_diff(before, after, path if old is not None else "/dev/null", path, n=2)
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _readable(content: bytes) -> str:
    """Text with the body of certificates, OpenPGP keys and signatures replaced by one line: it is not readable, and differs from
    site to site.
    """
    return PEM.sub(r"\1\n(base64)\n\3", content.decode())


def _feed(command: str, content: bytes) -> str:
    """A command with `content` on its standard input: text as a here-document, anything else as base64."""
    if content.endswith(b"\n") and b"\0" not in content and END.encode() not in content:
        try:
            return f"{command} <<'{END}'\n{content.decode()}{END}\n"
        except UnicodeDecodeError:
            pass  # not text
    return f"echo {base64.b64encode(content).decode()} | base64 -d | {{ {command}; }}\n"
