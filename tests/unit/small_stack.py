"""A stack of a site's own, small and without a mistake: a database, a Job that fills it, and a server with a node port."""

from pathlib import Path

from airavata_runbook import Site

STACK = """
secrets:
  store: {password: "generated:store-password"}
files:
  server: {keystore: server-keystore}
components:
  - {name: store, kind: backing, image: mariadb, certificate: [store], storage_uid: 10001}
  - {name: schema, kind: backing, image: mariadb, needs: [store]}
  - {name: server, kind: airavata, image: server, stand_in: stand-in, needs: [schema], certificate: [server],
     verify: airavata-api}
"""
POD = """
    metadata:
      labels: {app: NAME}
    spec:
      imagePullSecrets: [{name: registry}]
      securityContext: {runAsNonRoot: true, runAsUser: 10001}
"""
BOX = """
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 256Mi}
          securityContext: {allowPrivilegeEscalation: false}
"""
PROBES = """
          readinessProbe: {tcpSocket: {port: main}}
          livenessProbe: {tcpSocket: {port: main}}
"""
STORE = f"""# The database.
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {{{{ namespace ~ "-store" }}}}}}
spec:
  local: {{path: {{{{ site.airavata.storage_path ~ "/store" }}}}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{{{{ site.storage_node.address }}}}]}}]
  claimRef: {{apiVersion: v1, kind: PersistentVolumeClaim, namespace: {{{{ namespace }}}}, name: store}}
  storageClassName: ""
  persistentVolumeReclaimPolicy: Retain
  accessModes: [ReadWriteOncePod]
  capacity: {{storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: store}}
spec:
  volumeName: {{{{ namespace ~ "-store" }}}}
  storageClassName: ""
  accessModes: [ReadWriteOncePod]
  resources: {{requests: {{storage: 1Gi}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: store}}
spec:
  selector: {{matchLabels: {{app: store}}}}
  # The one that is called.
  serviceName: store
  template:{POD.replace("NAME", "store").rstrip()}
      containers:
        - name: store
          image: {{{{ image("mariadb") }}}}
          ports: [{{name: main, containerPort: 3306}}]{PROBES.rstrip()}{BOX.rstrip()}
          volumeMounts:
            - {{name: data, mountPath: /data}}
            - {{name: settings, mountPath: /etc/store}}
            - {{name: secrets, mountPath: /etc/secrets}}
          args: [--config, /etc/store/store.cnf]
      volumes:
        - {{name: data, persistentVolumeClaim: {{claimName: store}}}}
        - {{name: settings, configMap: {{name: store}}}}
        - {{name: secrets, secret: {{secretName: store}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: store}}
data:
  store.cnf: |
    # This is part of the file, and no comment of the manifest.
    port = 3306
"""
SCHEMA = f"""apiVersion: batch/v1
kind: Job
metadata: {{name: schema}}
spec:
  template:{POD.replace("NAME", "schema").rstrip()}
      restartPolicy: OnFailure
      initContainers:
        - name: wait
          image: {{{{ image("mariadb") }}}}
          command: [mariadb-admin, ping]{BOX.rstrip()}
      containers:
        - name: schema
          image: {{{{ image("mariadb") }}}}
          env:
            - {{name: DATABASE_HOST, value: store}}
            - {{name: DATABASE_PORT, value: "3306"}}
            - name: DATABASE_PASSWORD
              valueFrom: {{secretKeyRef: {{name: store, key: password}}}}{BOX.rstrip()}
"""
SERVER = f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: server}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: server}}}}
  template:{POD.replace("NAME", "server").rstrip()}
      containers:
        # The one that answers.
        - name: server
          image: {{{{ image("server") }}}}
          ports: [{{name: main, containerPort: 8443}}]{PROBES.rstrip()}{BOX.rstrip()}
          env:
            - {{name: DATABASE_URL, value: "jdbc:mysql://store:3306/app"}}
            - {{name: LEVEL, value: info}}
            - name: DATABASE_LOGIN
              valueFrom: {{secretKeyRef: {{name: store, key: password}}}}
          volumeMounts:
            - {{name: tls, mountPath: /etc/tls}}
      volumes:
        - {{name: tls, secret: {{secretName: server-tls}}}}
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports:
    - {name: main, port: PORT, targetPort: main}
"""
FILES = {
    "stack.yaml": STACK,
    "store/deploy.yaml": STORE,
    "store/service.yaml": SERVICE.replace("NAME", "store").replace("PORT", "3306"),
    "schema/deploy.yaml": SCHEMA,
    "server/deploy.yaml": SERVER,
    "server/service.yaml": SERVICE.replace("NAME", "server")
    .replace("PORT", "443")
    .replace("spec:", "spec:\n  type: NodePort")
    .replace("targetPort: main", "targetPort: main, nodePort: 31000"),
}


def small_stack(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """Write it to folder/gateway. changes: (file, old, new), each in that file's text."""
    texts = dict(FILES)
    for file, old, new in changes:
        assert old in texts[file], (file, old)
        texts[file] = texts[file].replace(old, new)
    for file, text in texts.items():
        path = folder / "gateway" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "gateway"


def site_with(stack: Path | str, **airavata) -> Site:
    """A site with two hosts and this stack, its server served by the stand-in."""
    nodes = [{"name": "one", "address": "192.168.7.1", "role": "master"}, {"name": "two", "address": "192.168.7.2"}]
    return Site.load({"name": "own", "nodes": nodes, "airavata": {"stack": str(stack), "stand_in": True, **airavata}})


def references(site: Site) -> dict[str, str]:
    """Image name → reference in the registry, without a digest, of all that such a site has."""
    names = ("pause", "coredns", "toolbox", "mariadb", "stand-in", *site.airavata.images)
    return {name: f"{site.registry_address}/{name}:sha-1" for name in names}
