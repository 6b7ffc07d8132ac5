# Run by flanneld's unit on {{ node.name | line }}: before it starts, and when it has its lease.
set -eu
case $1 in
before)
    # The address of flannel.1 follows from the host's, so that it is the same after every boot.
    ip link show flannel.1 >/dev/null 2>&1 || ip link add flannel.1 address {{ mac }} type vxlan \
        id 1 dev {{ node.interface }} local {{ node.address }} dstport {{ port }} nolearning
    ;;
after)
    . /run/flannel/subnet.env
    ip link show cni0 >/dev/null 2>&1 || ip link add cni0 type bridge
    # The lease as flannel writes it is the first address of the subnet, 10.52.25.129/25: the bridge's own. An address of an
    # earlier lease would make the CNI plugin refuse the bridge.
    ip -4 -o addr show dev cni0 | while read -r _ _ _ address _; do
        test "$address" = "$FLANNEL_SUBNET" || ip addr del "$address" dev cni0
    done
    ip addr replace "$FLANNEL_SUBNET" dev cni0
    ip link set cni0 mtu "$FLANNEL_MTU" up
    gateway=${FLANNEL_SUBNET%/*}
    subnet=${gateway%.*}.$((${gateway##*.} - 1))/${FLANNEL_SUBNET#*/}
    mkdir -p /etc/cni/net.d
    cat > /etc/cni/net.d/.new <<CONFIGURATION
{
  "cniVersion": "1.0.0",
  "name": "airavata-pods",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": $FLANNEL_MTU,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "$subnet"}]],
              "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
CONFIGURATION
    mv /etc/cni/net.d/.new /etc/cni/net.d/10-airavata.conflist
    ;;
esac
