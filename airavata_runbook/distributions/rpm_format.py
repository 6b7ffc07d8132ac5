"""Packages for rpm, and the repository that dnf reads: repodata/repomd.xml and what it names.

Sources: createrepo_c, whose metadata of the same package are the same (tests/unit/test_rpm_repository.py), and rpm's tags.
Nothing is compressed: a handful of packages has a few kilobytes of metadata, which a plan can show, and which do not
depend on the version of zlib.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from airavata_runbook.distributions.package_format import PackageFile, PackageFormat
from airavata_runbook.distributions.rpm_file import RpmFile, read_rpm
from airavata_runbook.local.files import Head
from airavata_runbook.pki import openpgp
from airavata_runbook.pki.openpgp import Algorithm
from airavata_runbook.wellknown import RPM_REPOSITORY_KEY

COMMON, RPM = "http://linux.duke.edu/metadata/common", "http://linux.duke.edu/metadata/rpm"
FILELISTS, OTHER = "http://linux.duke.edu/metadata/filelists", "http://linux.duke.edu/metadata/other"
REPO = "http://linux.duke.edu/metadata/repo"
# Tags of a header (rpm's docs/manual/tags.md).
NAME, VERSION, RELEASE, EPOCH, SUMMARY, DESCRIPTION, BUILT, BUILD_HOST = range(1000, 1008)
SIZE, VENDOR, LICENSE, PACKAGER, GROUP, URL = 1009, 1011, 1014, 1015, 1016, 1020
ARCHITECTURE, SOURCE_RPM = 1022, 1044
FILE_MODE, FILE_FOLDER, FILE_NAME, FOLDER = 1030, 1116, 1117, 1118
RELATIONS = {  # names, flags and versions
    "provides": (1047, 1112, 1113),
    "requires": (1049, 1048, 1050),
    "conflicts": (1054, 1053, 1055),
    "obsoletes": (1090, 1114, 1115),
}
COMPARISONS = {2: "LT", 4: "GT", 8: "EQ", 10: "LE", 12: "GE"}


class RpmFormat:
    """As PackageFormat. Packages are signed, and so is the index of the index."""

    name, label = "rpm", "rpm package"
    key = RPM_REPOSITORY_KEY
    algorithm: Algorithm = "rsa"
    index_files: tuple[str, ...] = ("repodata/primary.xml", "repodata/filelists.xml", "repodata/other.xml", "repodata/repomd.xml")
    signature_file = "repodata/repomd.xml.asc"
    owns_folders = True
    # The host that built it would be part of the package.
    nfpm: Mapping[str, object] = {"rpm": {"compression": "zstd", "buildhost": "localhost"}}
    names: Mapping[str, str] = {"conntrack": "conntrack-tools"}  # by Debian's; iptables is provided by iptables-nft, too

    def dependency(self, name: str, version: str = "") -> str:
        name = self.names.get(name, name)
        return f"{name} = {version}" if version else name

    def file_name(self, name: str, version: str) -> str:
        return f"{name}-{version}.x86_64.rpm"

    def files(self, names: Iterable[str]) -> str:
        return f"({'|'.join(names)})-[0-9][^/]*[.]x86_64[.]rpm|{'|'.join((*self.index_files, self.signature_file))}"

    def head(self, path: Path, key: Callable[[], bytes]) -> Head:
        return read_rpm(path).signed(partial(openpgp.signature_packet, key()))

    def index(self, packages: Sequence[PackageFile]) -> dict[str, str]:
        read = [(package, read_rpm(package.path)) for package in packages]
        primary = _list("metadata", {"xmlns": COMMON, "xmlns:rpm": RPM}, [_primary(*one) for one in read])
        filelists = _list("filelists", {"xmlns": FILELISTS}, [_filelist(*one) for one in read])
        other = _list("otherdata", {"xmlns": OTHER}, [_about(*one) for one in read])
        texts = dict(zip(self.index_files[:-1], (primary, filelists, other), strict=True))
        return texts | {self.index_files[-1]: _repomd(texts)}

    def sign(self, index: Mapping[str, str], key: bytes) -> bytes:
        return openpgp.detached_signature(key, index[self.index_files[-1]].encode())


RPM_FORMAT: PackageFormat = RpmFormat()


def _repomd(texts: Mapping[str, str]) -> str:
    """The revision is a constant, so that the same packages give the same file: dnf compares the file itself."""
    root = Element("repomd", {"xmlns": REPO, "xmlns:rpm": RPM})
    _text(root, "revision", openpgp.TIME)
    for name, text in texts.items():
        data = SubElement(root, "data", type=Path(name).stem)
        _text(data, "checksum", hashlib.sha256(text.encode()).hexdigest(), type="sha256")
        SubElement(data, "location", href=name)
        _text(data, "timestamp", openpgp.TIME)
        _text(data, "size", len(text.encode()))
    return _written(root)


def _list(name: str, spaces: Mapping[str, str], packages: Sequence[Element]) -> str:
    root = Element(name, {**spaces, "packages": str(len(packages))})
    root.extend(packages)
    return _written(root)


def _written(root: Element) -> str:
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _text(parent: Element, name: str, text: object, **attributes: str) -> None:
    SubElement(parent, name, attributes).text = str(text)


def _primary(package: PackageFile, rpm: RpmFile) -> Element:
    """What dnf needs to choose packages."""
    root = Element("package", type="rpm")
    _text(root, "name", rpm.text(NAME))
    _text(root, "arch", rpm.text(ARCHITECTURE))
    root.append(_version(rpm))
    _text(root, "checksum", package.sha256, type="sha256", pkgid="YES")
    for name, tag in {"summary": SUMMARY, "description": DESCRIPTION, "packager": PACKAGER, "url": URL}.items():
        _text(root, name, rpm.text(tag))
    built = str(rpm.number(BUILT))
    SubElement(root, "time", file=built, build=built)
    size = package.path.stat().st_size + len(package.head.content) - package.head.instead
    SubElement(root, "size", package=str(size), installed=str(rpm.number(SIZE)), archive=str(rpm.payload_size))
    SubElement(root, "location", href=package.name)
    about = SubElement(root, "format")
    for name, tag in {"license": LICENSE, "vendor": VENDOR, "group": GROUP}.items():
        _text(about, f"rpm:{name}", rpm.text(tag) or ("Unspecified" if tag == GROUP else ""))
    _text(about, "rpm:buildhost", rpm.text(BUILD_HOST))
    _text(about, "rpm:sourcerpm", rpm.text(SOURCE_RPM))
    start = len(package.head.content) or rpm.start
    SubElement(about, "rpm:header-range", start=str(start), end=str(start + len(rpm.header)))
    for name, tags in RELATIONS.items():
        if found := _relations(rpm, *tags):
            SubElement(about, f"rpm:{name}").extend(found)
    for path, kind in _files(rpm):
        if path.startswith("/etc/") or "bin/" in path:  # of which packages depend on the path
            SubElement(about, "file", kind).text = path
    return root


def _relations(rpm: RpmFile, names: int, flags: int, versions: int) -> list[Element]:
    """Without what rpm itself has to be able to do."""
    found = []
    for name, flag, version in zip(rpm.texts(names), rpm.numbers(flags), rpm.texts(versions), strict=True):
        if not name.startswith("rpmlib("):
            found.append(Element("rpm:entry", name=name))
            if comparison := COMPARISONS.get(flag & 15):
                number, _, release = version.rpartition(":")[2].partition("-")
                epoch = version.rpartition(":")[0] or "0"
                found[-1].attrib |= {"flags": comparison, "epoch": epoch, "ver": number} | ({"rel": release} if release else {})
    return found


def _version(rpm: RpmFile) -> Element:
    return Element("version", epoch=str(rpm.number(EPOCH)), ver=rpm.text(VERSION), rel=rpm.text(RELEASE))


def _about(package: PackageFile, rpm: RpmFile) -> Element:
    """What the other lists begin with; there is no log of changes."""
    root = Element("package", pkgid=package.sha256, name=rpm.text(NAME), arch=rpm.text(ARCHITECTURE))
    root.append(_version(rpm))
    return root


def _filelist(package: PackageFile, rpm: RpmFile) -> Element:
    root = _about(package, rpm)
    for path, kind in _files(rpm):
        SubElement(root, "file", kind).text = path
    return root


def _files(rpm: RpmFile) -> list[tuple[str, dict[str, str]]]:
    """Path and attributes of each file and folder."""
    folders, rows = rpm.texts(FOLDER), zip(rpm.numbers(FILE_FOLDER), rpm.texts(FILE_NAME), rpm.numbers(FILE_MODE), strict=True)
    return [(folders[folder] + name, {"type": "dir"} if S_ISDIR(mode) else {}) for folder, name, mode in rows]
