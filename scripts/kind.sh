#!/usr/bin/env bash
# The operator and a pipeline on kind, a Kubernetes in Docker, for people who have that: scripts/kind.sh up|down
#
# NOT RUN IN CI, and never tried as a whole: neither CI nor where it was written has a Docker daemon. What it applies was tried
# on a Kubernetes without Docker (`make cluster-up`); Docker's build, kind, moto's image and the services' names weren't.
#
#   up    makes a cluster, builds the images from the Dockerfile, gives them to it, starts what stands in for AWS in the
#         cluster, installs the chart, applies examples/quickstart.yaml, and sends ticks. Ten minutes and more the first time
#   down  ends the cluster; nothing of it stays but the images in Docker
#
# The cluster has a kubeconfig of its own, in $STOCKSTREAM_CACHE: yours isn't touched.
set -euo pipefail
. "$(dirname "$0")/env.sh"

CLUSTER=stockstream
HOME_NAMESPACE=stockstream-system
NAMESPACE=team-a
BUCKET=my-lake

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
worker=stockstream.dev/stockstream:$version
operator=stockstream.dev/stockstream-operator:$version
export KUBECONFIG=$STOCKSTREAM_CACHE/kind.kubeconfig

# Says all that is missing at once.
check_tools() {
    local tool missing=()
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -eq 0 ] || die "kind: missing here: ${missing[*]}
Without Docker: make cluster-up, or make suite SUITE=operator (docs/kubernetes.md)"
    docker info >/dev/null 2>&1 || die "kind: the Docker daemon doesn't answer: see what \`docker info\` says
Without Docker: make cluster-up, or make suite SUITE=operator (docs/kubernetes.md)"
}

# Output goes to a variable first: grep would end at the first match, and kind with it.
exists() {
    local clusters
    clusters=$(kind get clusters 2>/dev/null)
    grep -qxF "$CLUSTER" <<<"$clusters"
}

step() { say "kind: $*"; }

build_images() {
    step "building the images; compiling takes many minutes the first time"
    # Older Dockers have BuildKit, but don't use it by themselves.
    DOCKER_BUILDKIT=1 docker build --target worker --tag "$worker" .
    DOCKER_BUILDKIT=1 docker build --target operator --tag "$operator" .
    kind load docker-image --name "$CLUSTER" "$worker" "$operator"
}

emulate_aws() {
    step "starting what stands in for AWS: moto, and our own Kinesis"
    kubectl apply --namespace default --filename scripts/kind/aws.yaml
    kubectl wait --namespace default --for=condition=Available deployment/aws deployment/kinesis --timeout=5m
    # The image has the AWS SDK for Python: the machine needs no client of AWS.
    kubectl exec --namespace default deployment/aws -- python -c "
import boto3
boto3.client('s3', endpoint_url='http://127.0.0.1:5000', region_name='us-east-1', aws_access_key_id='test',
             aws_secret_access_key='test').create_bucket(Bucket='$BUCKET')"
}

install_operator() {
    step "installing the chart"
    helm install stockstream charts/stockstream --namespace "$HOME_NAMESPACE" --create-namespace \
        --values tests/chart/kind.yaml --wait --timeout 5m
}

run_pipeline() {
    step "applying examples/quickstart.yaml, and sending ticks"
    kubectl create namespace "$NAMESPACE"
    kubectl apply --namespace "$NAMESPACE" --filename examples/quickstart.yaml
    kubectl wait --namespace "$NAMESPACE" --for=condition=Ready stockstream/stock-ticks --timeout=5m
    kubectl create configmap ticks --namespace "$NAMESPACE" --from-file=examples/data/daily.csv
    kubectl apply --namespace "$NAMESPACE" --filename scripts/kind/ticks.yaml
}

usage_of_cluster() {
    cat <<END

It runs. Ticks come for some minutes. To look at it:
  export KUBECONFIG=$KUBECONFIG
  kubectl -n $NAMESPACE get sst -o wide
  kubectl -n $NAMESPACE describe sst stock-ticks
  kubectl -n $NAMESPACE port-forward service/stock-ticks-dashboard 8080   the page: http://127.0.0.1:8080
  kubectl -n $NAMESPACE logs deployment/stock-ticks-workers
  kubectl -n $HOME_NAMESPACE logs deployment/stockstream
  kubectl -n default port-forward service/aws 5000                 then, with any client of S3:
    AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 \\
      aws --endpoint-url http://127.0.0.1:5000 s3 ls --recursive s3://$BUCKET/streaming/
To end it: make kind-down
END
}

up() {
    check_tools docker kind kubectl helm
    ! exists || die "kind: the cluster $CLUSTER is there already: make kind-down ends it"
    mkdir -p "$STOCKSTREAM_CACHE"
    cd "$root"
    trap '[ $? -eq 0 ] || say "kind: that failed. What is there stays (KUBECONFIG=$KUBECONFIG); make kind-down ends it"' EXIT
    kind create cluster --name "$CLUSTER" --wait 3m
    build_images
    emulate_aws
    install_operator
    run_pipeline
    usage_of_cluster
}

down() {
    check_tools docker kind
    kind delete cluster --name "$CLUSTER"
    rm -f "$KUBECONFIG"
}

case ${1-} in
    up) up ;;
    down) down ;;
    *) die "usage: scripts/kind.sh up|down" ;;
esac
