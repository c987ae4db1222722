# bash infra/ray/head.sh [ray start options]    starts a Ray head on this machine for submitted jobs; `ray stop` ends it
set -euo pipefail

# Whoever reaches Ray's ports runs code here, and all but the dashboard's are open on every interface, whatever address Ray
# is given: so a token on every call. Keep it out of files that travel with jobs; workers and clients need the same two
# variables.
: "${RAY_AUTH_TOKEN:?set it first: export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=\$(python -c 'import secrets; print(secrets.token_hex(32))')}"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

# What a stopped job has to commit the units in hand, which takes it 12 s at most; Ray kills it after 3 s otherwise.
export RAY_JOB_STOP_WAIT_TIME_S="${RAY_JOB_STOP_WAIT_TIME_S:-20}"

# Three logical CPUs more than cores: an encoder takes all but two, which Ray Data's own tasks need.
exec ray start --head --num-cpus="$(($(nproc) + 3))" --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 \
    --disable-usage-stats "$@"
