"""The kinds of resources on a host or in the cluster: each has a probe, a comparison and a change."""

from airavata_runbook.engine.resource import Change, Context, Resource
from airavata_runbook.errors import NotYet
from airavata_runbook.resources.absent import Absent, Cleared, Removed, Stopped
from airavata_runbook.resources.build import Build
from airavata_runbook.resources.certificate import Authority, Certificate, SigningKey
from airavata_runbook.resources.condition import Condition
from airavata_runbook.resources.database_backup import DatabaseBackup
from airavata_runbook.resources.etcd_access import EtcdAccess
from airavata_runbook.resources.etcd_key import EtcdKey
from airavata_runbook.resources.etcd_store import EtcdStore
from airavata_runbook.resources.file import Block, File, Folder, Upload
from airavata_runbook.resources.image import Image
from airavata_runbook.resources.kernel import Modules, Sysctls
from airavata_runbook.resources.kube_object import KubeObject
from airavata_runbook.resources.left_out import Obsolete
from airavata_runbook.resources.node_labels import NodeLabels
from airavata_runbook.resources.node_object import NodeObject
from airavata_runbook.resources.package import Packages
from airavata_runbook.resources.pod_network import PodNetwork
from airavata_runbook.resources.repository_key import RepositoryKey
from airavata_runbook.resources.role_binding import RoleBinding
from airavata_runbook.resources.secret import Generated, Htpasswd
from airavata_runbook.resources.selinux import ContainerPolicy, Contexts, FileContext
from airavata_runbook.resources.service import Service
from airavata_runbook.resources.site_record import SameSite, SiteRecord
from airavata_runbook.resources.storage import EarlierStorage, StorageRecord, StorageUsable
from airavata_runbook.resources.unmanaged import Unmanaged

__all__ = [
    "Absent",
    "Authority",
    "Block",
    "Build",
    "Certificate",
    "Change",
    "Cleared",
    "Condition",
    "ContainerPolicy",
    "Context",
    "Contexts",
    "DatabaseBackup",
    "EarlierStorage",
    "EtcdAccess",
    "EtcdKey",
    "EtcdStore",
    "File",
    "FileContext",
    "Folder",
    "Generated",
    "Htpasswd",
    "Image",
    "KubeObject",
    "Modules",
    "NodeLabels",
    "NodeObject",
    "NotYet",
    "Obsolete",
    "Packages",
    "PodNetwork",
    "Removed",
    "RepositoryKey",
    "Resource",
    "RoleBinding",
    "SameSite",
    "Service",
    "SigningKey",
    "SiteRecord",
    "Stopped",
    "StorageRecord",
    "StorageUsable",
    "Sysctls",
    "Unmanaged",
    "Upload",
]
