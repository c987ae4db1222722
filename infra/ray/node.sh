# bash infra/ray/node.sh HEAD:6379 [ray start options]    joins this machine to a cluster; `ray stop` ends its part
set -euo pipefail

: "${1:?give the address of the head, such as 10.0.0.5:6379}"
: "${RAY_AUTH_TOKEN:?set it first, to the head\'s: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=...}"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

# A node with GPUs and no more CPUs than GPUs encodes and does nothing else.
exec ray start --address="$1" --disable-usage-stats "${@:2}"
