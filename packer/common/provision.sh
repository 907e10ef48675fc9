#!/usr/bin/env bash
# On the build machine, as root: engine, image by digest, a start of it, the unit; nothing of this machine stays.
set -euo pipefail

[[ $IMAGE =~ ^[A-Za-z0-9.:/_-]+@sha256:[0-9a-f]{64}$ ]] || { echo "IMAGE is no reference by digest" >&2; exit 64; }
registry=${IMAGE%%/*}

# Packer logs in before cloud-init has finished. It says 2 where it only has warnings.
if command -v cloud-init >/dev/null; then
    cloud-init status --wait >/dev/null || true
fi
if ! command -v docker >/dev/null; then
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update --quiet
        # apparmor and iptables are only recommended, and no container starts without them.
        apt-get install --yes --no-install-recommends docker.io apparmor iptables python3 ca-certificates
    else
        dnf install --assumeyes docker python3
    fi
fi
docker info >/dev/null 2>&1 || systemctl enable --now docker

# The login is in memory: what is deleted from the disk would still be in its snapshot.
export DOCKER_CONFIG=/dev/shm/runbake/docker
mkdir -p "$DOCKER_CONFIG"
if [[ ! -s $DOCKER_CONFIG/config.json && $IMAGE =~ ^[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com ]]; then
    if ! command -v aws >/dev/null; then
        apt-get install --yes --no-install-recommends awscli
    fi
    aws ecr get-login-password --region "${BASH_REMATCH[1]}" |
        docker login --username AWS --password-stdin "$registry"
fi
docker pull --quiet "$IMAGE"

# An engine that is active may still be unable to start a container. The server is ready once it has answered the
# model's own example, where there is one.
name=runbake-smoke-${IMAGE: -12}-$$
trap 'docker rm --force "$name" >/dev/null 2>&1 || true' EXIT
docker run --detach --name "$name" --pull never --read-only --tmpfs /tmp --network none \
    --cap-drop ALL --security-opt no-new-privileges "$IMAGE" >/dev/null
ready='import sys, urllib.request as u; sys.exit(u.urlopen("http://127.0.0.1:8080/ping", timeout=5).status != 200)'
deadline=$((SECONDS + 300))
python=$(docker inspect --format '{{index .Config.Entrypoint 0}}' "$name")
until docker exec "$name" "$python" -c "$ready" >/dev/null 2>&1; do
    if [[ $SECONDS -gt $deadline || $(docker inspect --format '{{.State.Running}}' "$name") != true ]]; then
        docker logs "$name" 2>&1 | tail -n 20 >&2
        echo "error: the image does not get ready on this machine" >&2
        exit 1
    fi
    sleep 1
done
echo "the image is ready for requests"

install -D -m 0755 /dev/shm/runbake/runbake-job /usr/local/sbin/runbake-job
install -D -m 0644 /dev/shm/runbake/runbake-job.service /etc/systemd/system/runbake-job.service
install -d /etc/runbake /var/lib/runbake
printf '%s\n' "$IMAGE" >/etc/runbake/image
systemctl enable runbake-job.service

rm -rf /dev/shm/runbake /etc/ssh/ssh_host_*
if command -v cloud-init >/dev/null; then
    cloud-init clean --logs
fi
truncate --size 0 /etc/machine-id
sync
