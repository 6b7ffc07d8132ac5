"""What the hosts of `reapply` must have: 22 items, the same for this engine and for its peers, as plain data."""

PACKAGES = ["conntrack", "curl", "ethtool"]  # already in the lab's image: the tools only check for them
BLOCK_PATH, BLOCK_NAME = "/etc/hosts", "bench"
BLOCK_LINES = ["10.91.0.11 one.bench", "10.91.0.12 two.bench"]
SERVICES = ["bench-a", "bench-b", "bench-c"]
FOLDERS = ["/opt/bench", "/opt/bench/data", "/opt/bench/log"]
UNIT = "[Unit]\nDescription={name}\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"

# path → content: a unit for each service, and configuration files of some length
FILES = {f"/etc/systemd/system/{name}.service": UNIT.format(name=name) for name in SERVICES} | {
    f"/etc/bench/part-{number:02}.conf": "".join(f"setting-{line} = {number * line}\n" for line in range(60))
    for number in range(11)
}

COUNT = len(FILES) + len(FOLDERS) + len(SERVICES) + 2  # and the packages, and the block
MODE = {"file": "0644", "folder": "0755"}

# Prints the state of a host: every digest, mode, package, and when each service was started.
STATE = (
    f"sha256sum {' '.join(FILES)} {BLOCK_PATH}; stat -c '%n %a %U:%G' {' '.join([*FILES, *FOLDERS])}; "
    f"dpkg-query -W {' '.join(PACKAGES)}; "
    f"systemctl show -p ActiveState,UnitFileState,ExecMainStartTimestampMonotonic {' '.join(SERVICES)}"
)
