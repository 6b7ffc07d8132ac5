"""The exercises in the order of a course: the name, which says the symptom, and the module, which is named after the cause."""

MODULES = {
    "silent-portal": "corrupted_selector",
    "separated-pods": "stopped_flanneld",
    "restless-service": "changed_etcd_prefix",
    "missing-route": "deleted_lease",
    "failing-calls": "killed_replica",
    "image-not-pulled": "wrong_registry_password",
    "pod-without-address": "full_disk",
    "pod-without-node": "expired_certificate",
    "lost-node": "cut_network",
    "waiting-databases": "drained_host",
}
