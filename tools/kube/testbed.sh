#!/bin/bash
# A real kube-apiserver and kube-controller-manager on loopback, with etcd of Debian's, for as long as a command runs:
#   testbed.sh build            builds both, once (a quarter of an hour of one core); they stay beside Go's build cache
#   testbed.sh run COMMAND...   runs the command with KUBE_TESTBED=https://… and KUBE_TESTBED_TOKEN=…
# There is no kubelet and no node: whoever wants a pod to be ready or gone says so through the API, as a kubelet would.
set -eu
cd "$(dirname "$0")"
here=$PWD
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
bin=$(go env GOCACHE)/failoverd-kube-$version

build() {
  [ -x "$bin/kube-apiserver" ] && [ -x "$bin/kube-controller-manager" ] && return
  mkdir -p "$bin"
  v=k8s.io/component-base/version
  minor=${version#v1.}
  nice -n 19 go build -ldflags "-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*}" -o "$bin/new/" \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
  mv "$bin"/new/* "$bin/" && rmdir "$bin/new"
}

# The package's files alone: installing it would start a service.
find_etcd() {
  type -P etcd && return
  if [ ! -x "$bin/etcd/usr/bin/etcd" ]; then
    mkdir -p "$bin/etcd"
    (cd "$bin/etcd" && { apt-get download -qq etcd-server || { apt-get update -qq && apt-get download -qq etcd-server; }; } && dpkg -x etcd-server_*.deb .) >&2
  fi
  echo "$bin/etcd/usr/bin/etcd"
}

# A port that nobody listens on, below those that the kernel gives out.
free() {
  local p
  while p=$((20000 + RANDOM % 12000)); (: < "/dev/tcp/127.0.0.1/$p") 2> /dev/null; do :; done
  echo "$p"
}

case ${1:-} in
build) build; find_etcd > /dev/null; exit ;;
run) shift ;;
*) sed -n '2,6p' "$0"; exit 2 ;;
esac
if [ ! -x "$bin/kube-apiserver" ]; then echo "NOT TESTED: no kube-apiserver in $bin; build it with $here/testbed.sh build"; exit 0; fi
etcd=$(find_etcd)
dir=$(mktemp -d)
pids=
# At once: an API server without its etcd takes minutes to end.
trap 'kill -9 $pids 2> /dev/null || true; wait 2> /dev/null; rm -rf "$dir"' EXIT
# start PROGRAM ARGS... in the background, with its log beside it
start() { "$@" > "$dir/$(basename "$1").log" 2>&1 < /dev/null & pids="$pids $!"; }
client=$(free) peer=$(free) api=$(free) manager=$(free)
token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
echo "$token,admin,1,system:masters" > "$dir/tokens.csv"
openssl genrsa -out "$dir/sa.key" 2048 2> /dev/null
openssl rsa -in "$dir/sa.key" -pubout -out "$dir/sa.pub" 2> /dev/null
start "$etcd" --data-dir "$dir/etcd-data" --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer"
start "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$client" --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port="$api" \
  --cert-dir="$dir/certs" --service-account-key-file="$dir/sa.pub" --service-account-signing-key-file="$dir/sa.key" \
  --service-account-issuer=https://kubernetes.default.svc --token-auth-file="$dir/tokens.csv" --authorization-mode=RBAC \
  --service-cluster-ip-range=10.0.0.0/24 --endpoint-reconciler-type=none
url=https://127.0.0.1:$api
ready() { curl -sk -H "Authorization: Bearer $token" "$url/readyz" 2> /dev/null | grep -qx ok; }
for _ in $(seq 600); do ready && break; sleep .2; done
ready || { echo "the kube-apiserver is not ready after two minutes"; for log in "$dir"/*.log; do echo "$log:"; tail -n 5 "$log"; done; exit 1; }
cat > "$dir/kubeconfig" << K
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$url", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: $token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
K
start "$bin/kube-controller-manager" --kubeconfig="$dir/kubeconfig" --bind-address=127.0.0.1 --secure-port="$manager" --cert-dir="$dir/certs-cm" \
  --leader-elect=false --use-service-account-credentials=false --service-account-private-key-file="$dir/sa.key" \
  --controllers=deployment-controller,replicaset-controller,statefulset-controller,cronjob-controller,job-controller,namespace-controller,serviceaccount-controller
cd "$OLDPWD"
KUBE_TESTBED=$url KUBE_TESTBED_TOKEN=$token "$@"
