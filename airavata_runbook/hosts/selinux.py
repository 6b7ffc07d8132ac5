"""Whether SELinux's policy knows containers, by what it says of one of containerd's folders (container-selinux, container.fc)."""

LOOK = "matchpathcon -n /var/lib/containerd 2>/dev/null || true"


def knows_containers(text: str) -> bool:
    """What LOOK printed; nothing where the tool is missing."""
    return ":container_var_lib_t:" in text
