#!/bin/bash
# Runs `python -m experiments ARGUMENTS` on one machine of a TPU slice, as one process of a job with the other machines.
# Which machine this is, and where the first one is, stands in the metadata of every Compute Engine TPU machine.
set -euo pipefail
cd "$(dirname "$0")/.."

attribute() {
    curl -fsS -H "Metadata-Flavor: Google" "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

IFS=, read -ra workers <<<"$(attribute worker-network-endpoints)" # host,host,... or name:id:host,name:id:host,...
JAX_PROCESS_ID=$(attribute agent-worker-number)
export JAX_PROCESS_ID JAX_NUM_PROCESSES=${#workers[@]} JAX_COORDINATOR=${workers[0]##*:}:8476
exec .venv/bin/python -m experiments "$@"
