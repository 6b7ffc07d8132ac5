"""What a stack may not have is refused before anything is touched, with component, object, field and reason.

Among them every mistake of the proof of concept's own manifests.
"""

import base64

import pytest

from airavata_runbook import stacks
from airavata_runbook.checks import preflight
from airavata_runbook.errors import SiteError
from tests.unit.small_stack import FILES, references, site_with, small_stack

SERVER, SERVER_SERVICE, STORE, SCHEMA, STACK = (
    "server/deploy.yaml",
    "server/service.yaml",
    "store/deploy.yaml",
    "schema/deploy.yaml",
    "stack.yaml",
)
URL = 'value: "jdbc:mysql://store:3306/app"'
CONFIG = "    port = 3306\n"
DIGEST = "sha256:" + "a" * 64


def problems(tmp_path, *changes: tuple[str, str, str], **airavata) -> tuple[str, ...]:
    """What `airavata-runbook check` finds in the stack with these changes."""
    site = site_with(small_stack(tmp_path, *changes), **airavata)
    return tuple(one.found for one in preflight.offline(site) if one.check == "stack")


def setting(line: str) -> tuple[str, str, str]:
    return STORE, CONFIG, f"    {line}\n"


def env(name: str, value: str) -> tuple[str, str, str]:
    return SERVER, "{name: LEVEL, value: info}", f"{{name: {name}, value: '{value}'}}"


def command(text: str) -> tuple[str, str, str]:
    return SCHEMA, "command: [mariadb-admin, ping]", f"command: [{text}]"


def host_path(file: str, path: str) -> tuple[str, str, str]:
    return file, "      volumes:\n", f"      volumes:\n        - {{name: host, hostPath: {{path: {path}}}}}\n"


def another_volume() -> tuple[str, str, str]:
    """A second PersistentVolume for the same folder."""
    start, end = FILES[STORE].index("apiVersion: v1"), FILES[STORE].index("---\n")
    first = FILES[STORE][start:end]
    return STORE, first, f"{first}---\n{first}".replace('{{ namespace ~ "-store" }}', "twin", 1)


POC = {
    "a nodePort outside the range": (
        (SERVER_SERVICE, "nodePort: 31000", "nodePort: 8080"),
        "server: Service server: spec.ports[0].nodePort: found 8080; needed: 30000 to 32767",
    ),
    "a selector that matches no pod's labels": (
        (SERVER_SERVICE, "selector: {app: server}", "selector: {app: airavata}"),
        "server: Service server: spec.selector: found {'app': 'airavata'}; needed: labels of the component's pods",
    ),
    "a Deployment's selector that matches none either": (
        (SERVER, "matchLabels: {app: server}", "matchLabels: {app: api}"),
        "server: Deployment server: spec.selector.matchLabels: found {'app': 'api'}",
    ),
    "a config file mounted under the wrong name": (
        (STORE, "--config, /etc/store/store.cnf", "--config, /etc/store/my.cnf"),
        "found a reference to /etc/store/my.cnf; needed: a file that is mounted there, one of store.cnf",
    ),
    "a config file mounted by a key that it does not have": (
        (STORE, "name: settings, mountPath: /etc/store", "name: settings, subPath: my.cnf, mountPath: /etc/store/my.cnf"),
        "subPath: found my.cnf; needed: one of store.cnf",
    ),
    "a service by a name that nobody has, in a URL": (
        (SERVER, "mysql://store:3306", "mysql://database:3306"),
        "env[DATABASE_URL]: found database, an unknown name; needed: a Service of the stack, one of kubernetes, server, store",
    ),
    "a service by a name that nobody has, without a port": (
        (SERVER, "mysql://store:3306", "mysql://database"),
        "found database, an unknown name",
    ),
    "a service by a name that nobody has, as a host": (
        (SCHEMA, "value: store}", "value: stores}"),
        "schema: Job schema: spec.template.spec.containers[schema].env[DATABASE_HOST]: found stores, an unknown name",
    ),
    "a service by a name that nobody has, in a file": (
        setting("database.host=mysql"),
        "store: ConfigMap store: data.store.cnf: found mysql, an unknown name",
    ),
    "a service at a port that it does not have": (
        (SERVER, "mysql://store:3306", "mysql://store:3307"),
        "found store:3307; needed: a port of the Service, one of 3306",
    ),
    "an etcd prefix that is not that of the other files": (
        setting("FLANNEL_ETCD_PREFIX=/atomic.io/network"),
        "data.store.cnf: found the etcd prefix /atomic.io/network; needed: /kube-centos/network, network.etcd_prefix",
    ),
    "an etcd prefix as an argument": (
        command("flanneld, -etcd-prefix=/coreos.com/network"),
        "command+args: found the etcd prefix /coreos.com/network",
    ),
    "an etcd prefix in the environment": (env("ETCD_PREFIX", "/other"), "env[ETCD_PREFIX]: found the etcd prefix /other"),
    "an etcd address that is not that of the other files": (
        setting('FLANNEL_ETCD_ENDPOINTS="https://192.168.7.2:2379"'),
        "found the etcd address https://192.168.7.2:2379; needed: https://192.168.7.1:2379, the site's only etcd",
    ),
    "etcd without TLS": (
        command("flanneld, --etcd-endpoints=http://192.168.7.1:2379"),
        "found the etcd address http://192.168.7.1:2379; needed: https://192.168.7.1:2379",
    ),
    "an API server without authentication on every address": (
        command("hyperkube, apiserver, --insecure-bind-address=0.0.0.0, --insecure-port=8080"),
        "found --insecure-bind-address; needed: https://kubernetes.default.svc with a service account",
    ),
    "an API server that lets anybody in": (command("x, --anonymous-auth=true"), "found --anonymous-auth=true; needed:"),
    "an API server of its own": (command("kube-apiserver, --secure-port=6443"), "found kube-apiserver; needed:"),
    "an API server that kubectl calls without authentication": (
        command("kubectl, --server=http://192.168.7.1:8080, get, pods"),
        "command+args: found kubectl --server=http://192.168.7.1:8080; needed: https://kubernetes.default.svc",
    ),
    "an API server that is called without authentication": (
        env("KUBERNETES_MASTER", "http://192.168.7.1:8080"),
        "env[KUBERNETES_MASTER]: found KUBERNETES_MASTER=http://192.168.7.1:8080; needed: https://kubernetes.default.svc",
    ),
    "imagePullPolicy Never": (
        (SERVER, '{{ image("server") }}', '{{ image("server") }}\n          imagePullPolicy: Never'),
        "imagePullPolicy: found Never; needed: IfNotPresent, hosts pull from the private registry",
    ),
    "root's password in the environment": (
        (STORE, "args:", "env: [{name: MYSQL_ROOT_PASSWORD, value: root}]\n          args:"),
        "store: StatefulSet store: spec.template.spec.containers[store].env[MYSQL_ROOT_PASSWORD]: found a secret's value",
    ),
    "root's password on a command line": (
        (STORE, "readinessProbe: {tcpSocket: {port: main}}", "readinessProbe: {exec: {command: [mysqladmin, -uroot, -proot]}}"),
        "readinessProbe.exec.command: found a secret's value (not repeated here)",
    ),
    "root's password in a URL": (
        (SERVER, URL, 'value: "jdbc:mysql://store:3306/app?user=root&password=canary"'),
        "env[DATABASE_URL]: found a secret's value (not repeated here); needed: valueFrom.secretKeyRef",
    ),
    "a password in a file": (setting("registry.jdbc.password=canary"), "data.store.cnf: found a secret's value"),
    "a password as a key of a ConfigMap": (
        (STORE, "\ndata:\n", "\ndata:\n  root-password: canary\n"),
        "data.root-password: found a secret's value",
    ),
    "a password in stack.yaml": (
        (STACK, '"generated:store-password"', "canary"),
        "stack.yaml: secrets.store.password: needs generated:NAME or site:NAME; a stack never holds a secret's value",
    ),
    "a keystore in a ConfigMap": (
        (STORE, "\ndata:\n", f"\nbinaryData:\n  airavata.jks: {base64.b64encode(b'canary').decode()}\ndata:\n"),
        "store: ConfigMap store: binaryData.airavata.jks: found content that is not text, as of a keystore; needed: files:",
    ),
    "a keystore in a ConfigMap, as text": (
        (STORE, "\ndata:\n", "\ndata:\n  airavata.p12: MIIcanary\n"),
        "data.airavata.p12: found content that is not text, as of a keystore",
    ),
    "a private key in a ConfigMap": (
        setting("-----BEGIN RSA PRIVATE KEY-----"),
        "store/deploy.yaml: found a keystore or private key; needed: none in a stack",
    ),
}


@pytest.mark.parametrize("name", POC)
def test_the_mistakes_of_the_poc_are_refused(tmp_path, name):
    change, said = POC[name]
    try:
        found = problems(tmp_path, change)
    except SiteError as refused:  # stack.yaml is read with the site file
        found = refused.problems
    assert any(said in one for one in found), found
    assert "canary" not in str(found)


@pytest.mark.parametrize(("name", "content"), [("server.jks", b"x"), ("server/tls.key", b"x"), ("k.txt", b"\xfe\xed\xfe\xed\0")])
def test_a_keystore_in_the_stacks_folder_is_refused(tmp_path, name, content):
    path = small_stack(tmp_path) / name
    path.write_bytes(content)
    assert any(one.startswith(f"{name}: found a keystore or private key; needed: none in a stack") for one in problems(tmp_path))


MORE = [
    ((SERVER_SERVICE, "nodePort: 31000", "nodePort: 30500"), "found 30500; needed: one that registry.port does not use"),
    (
        ("store/service.yaml", "targetPort: main}", "targetPort: main, nodePort: 31000}"),
        "server: Service server: nodePort: found 31000; needed: one that store: Service store",
    ),
    (
        (SERVER_SERVICE, "targetPort: main", "targetPort: http"),
        "targetPort: found http; needed: a port of its pods, one of 8443, main",
    ),
    ((SERVER, "secretName: server-tls", "secretName: server-cert"), "found Secret server-cert; needed: one of"),
    (
        (SERVER, "secretName: server-tls", "secretName: server-tls, items: [{key: a, path: a}]"),
        "found key a of Secret server-tls",
    ),
    ((SERVER, "secretName: server-tls", "secret: server-tls"), "found Secret None"),
    ((SERVER, "name: tls, mountPath", "name: certs, mountPath"), "name: found certs; needed: a volume of the pod, one of tls"),
    ((SCHEMA, "key: password", "key: root"), "found key root of Secret store; needed: one of password"),
    ((STORE, "configMap: {name: store}", "configMap: {name: other}"), "found ConfigMap other; needed: one of store"),
    ((SERVER, "mysql://store:3306", "mysql://store.elsewhere.svc:3306"), "found store.elsewhere.svc, an unknown name"),
    ((SERVER, "mysql://store:3306", "mysql://10.254.3.4:3306"), "found the address 10.254.3.4; needed: a Service's name"),
    ((SERVER, '{{ image("server") }}', "apache/airavata:1"), "needed: an image of the private registry"),
    ((SERVER, '{{ image("server") }}', "registry.internal:30500/server:1"), "NAME@sha256:…: a tag can move"),
    ((SERVER, "livenessProbe", "startupProbe"), "livenessProbe: needed, to know when it is ready and alive"),
    ((SERVER, "livenessProbe: {tcpSocket: {port: main", "livenessProbe: {tcpSocket: {port: x"), "livenessProbe: found port x"),
    ((SERVER, "limits: {memory: 256Mi}", "limits: {cpu: 1}"), "resources.limits.memory: needed by the scheduler"),
    ((SERVER, "memory: 64Mi", "memory: 1Gi"), "resources.requests.memory: found 1Gi; needed: at most the limit, 256Mi"),
    ((SERVER, "allowPrivilegeEscalation: false", "privileged: true"), "privileged: found true; needed: false"),
    ((SERVER, "runAsNonRoot: true", "runAsNonRoot: false"), "runAsNonRoot: needed: true, here or for the pod"),
    ((SERVER, "imagePullSecrets: [{name: registry}]", "hostNetwork: true"), "hostNetwork: found true; needed: false"),
    ((SERVER, "imagePullSecrets: [{name: registry}]", ""), "imagePullSecrets: needed: the Secret registry"),
    ((SERVER, "kind: Deployment", "kind: ReplicaSet"), "kind: found ReplicaSet; needed: Deployment, StatefulSet, DaemonSet, Job"),
    ((SERVER, "kind: Deployment", "kind: StatefulSet"), "spec.serviceName: found None; needed: a Service, one of"),
    ((STORE, "kind: ConfigMap", "kind: Secret"), "kind: found Secret; needed: none in a stack"),
    (host_path(SERVER, "/var/lib/airavata/store"), "hostPath: found /var/lib/airavata/store; needed: a persistentVolumeClaim"),
    (host_path(SERVER, "/etc/localtime"), "local.path /var/lib/airavata/COMPONENT, as in stacks/classic/mariadb/deploy.yaml"),
    (
        (STORE, "  local: {path", "  hostPath: {path"),
        "spec.hostPath: found /var/lib/airavata/store; needed: local.path",
    ),
    ((STORE, '{{ site.airavata.storage_path ~ "/store" }}', "/var/lib/mysql"), "local.path: found /var/lib/mysql; needed: a fol"),
    (
        another_volume(),
        "PersistentVolume twin: spec.local.path: found /var/lib/airavata/store, as in airavata-store; needed: a f",
    ),
    ((STORE, "key: kubernetes.io/hostname", "key: host"), "spec.nodeAffinity: needed: kubernetes.io/hostname, the folder is on"),
    (
        (STORE, "persistentVolumeReclaimPolicy: Retain", "x: 1"),
        "persistentVolumeReclaimPolicy: needed: Retain, the data outlives",
    ),
    (
        (STORE, "  # The one that is called.", "  replicas: 2"),
        "needed: a StatefulSet of one pod, two pods must not share the folder",
    ),
    (
        (STORE, "  # The one that is called.", "  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}"),
        "persistentVolumeClaimRetentionPolicy.whenDeleted: found Delete; needed: Retain",
    ),
    ((SCHEMA, "restartPolicy: OnFailure", "restartPolicy: Always"), "restartPolicy: found Always; needed: Never or OnFailure"),
    (
        (SCHEMA, "command: [mariadb-admin, ping]", "envFrom: [{secretRef: {name: x}}]"),
        "envFrom.secretRef: found Secret x; needed",
    ),
    ((SERVER, "env:", "env: 5\n          other:"), "an object is not as Kubernetes has it"),
    ((STACK, "components:", "namespace: kube-system\ncomponents:"), "namespace: found kube-system; needed: none"),
    ((STACK, "name: schema, kind", "name: toolbox, kind"), "found toolbox; needed: another name"),
    ((STACK, "  store: {password", "  registry: {password"), "secrets: found registry; needed: another name"),
    (
        (STACK, "stand_in: stand-in", "stand_in: stand-out"),
        "image stand-out: neither the site names it nor the runbook builds it",
    ),
    ((STORE, "claimName: store", "claimName: stores"), "found stores; needed: a claim of the stack, one of store"),
]


@pytest.mark.parametrize(("change", "said"), MORE, ids=[said[:40] for _, said in MORE])
def test_what_would_not_work_or_not_be_safe_is_refused(tmp_path, change, said):
    stack = small_stack(tmp_path, change)
    if change[2].startswith("name: toolbox"):
        (stack / "schema").rename(stack / "toolbox")
        (stack / STACK).write_text((stack / STACK).read_text().replace("needs: [schema]", "needs: [toolbox]"))
    site = site_with(stack)
    site = site.model_copy(update={"registry": site.registry.model_copy(update={"port": 30500})})
    found = [one.found for one in preflight.offline(site) if one.check == "stack"]
    assert any(said in one for one in found), found


def test_a_stack_without_a_mistake_has_no_problem(tmp_path):
    assert problems(tmp_path) == ()


@pytest.mark.parametrize(
    "change",
    [
        setting("FLANNEL_ETCD_PREFIX=/kube-centos/network"),
        setting("FLANNEL_ETCD_ENDPOINTS=https://192.168.7.1:2379"),
        env("MASTER", "https://kubernetes.default.svc"),
        env("KUBERNETES_URL", "https://kubernetes.default.svc.cluster.local:443"),
        env("PASSWORD_FILE", "/etc/secrets/password"),
        env("TOKEN_URL", "https://iam.example.org/token"),
        env("COOKIE_ENABLED", "yes"),
        command("mariadb-admin, -P3306, -h, store, ping"),
        env("MAIL_HOST", "smtp.example.org"),
        env("LISTEN", "http://0.0.0.0:8443"),
        env("API_SERVER", "http://server:443"),
        setting("# as kube-apiserver does it"),
        (SERVER, "mysql://store:3306", "mysql://store.airavata.svc.cluster.local:3306"),
        (SERVER, '{{ image("server") }}', f"registry.internal:5000/own@{DIGEST}"),
        (SERVER, '{{ image("server") }}', f"registry.internal:5000/own:1@{DIGEST}"),
        (STORE, "name: settings, configMap: {name: store}", "name: settings, configMap: {name: other, optional: true}"),
    ],
    ids=lambda change: change[2][:50],
)
def test_what_is_right_is_not_refused(tmp_path, change):
    assert problems(tmp_path, change) == ()


def test_all_mistakes_are_reported_at_once_and_end_a_check(tmp_path):
    found = problems(tmp_path, *(POC[name][0] for name in ("a nodePort outside the range", "a password in a file")))
    assert len(found) == 2
    site = site_with(tmp_path / "gateway")
    with pytest.raises(SiteError, match="the stack gateway has 2 problems") as refused:
        stacks.load(site, references(site))
    assert f"where:  {tmp_path}/gateway\n" in str(refused.value)
