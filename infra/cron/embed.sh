# bash infra/cron/embed.sh source.uri=... sink.uri=... model.checkpoint=...    runs the embed job until nothing is left to try
#
# Codes that the same command mends are tried again after a wait that doubles: 75 (a store in trouble), 143 (drained, and not by us) and
# 137 (killed, as for memory). All others end it at once, with the job's code. EMBED_ALERT is a command that gets one line on its
# standard input when a night has failed, such as: mail -s sam2-embed operators. Overlapping runs need no lock: see docs/operations.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python} tries=${EMBED_TRIES:-6} wait_s=${EMBED_WAIT_S:-60}

stopped='' job=''
# Ray signals every process of a job itself, and a second signal would cut the drain short. From a terminal the job hears nothing:
# bash lets what it starts in the background ignore Ctrl-C.
stop() {
    stopped=1
    [ -z "$job" ] || [ -n "${RAY_JOB_CONFIG_JSON_ENV_VAR:-}" ] || kill -TERM "$job" 2>/dev/null
}
trap stop TERM INT

# A command in the background, since bash runs traps only between commands; waited for again if a signal ended the wait.
run() {
    "$@" &
    job=$!
    [ -z "$stopped" ] || kill -TERM "$job" 2>/dev/null  # told to stop while it was being started
    code=127
    while wait "$job"; code=$?; kill -0 "$job" 2>/dev/null; do :; done
    [ -z "$stopped" ] || { wait "$job" 2>/dev/null; last=$?; [ "$last" -eq 127 ] || code=$last; }  # of one that ended just then
    job=''
}

for ((try = 1; ; try++)); do
    run "$python" jobs/embed.py "$@"
    [ "$code" -ne 0 ] || exit 0
    [ -z "$stopped" ] || exit "$code"
    case $code in 75 | 137 | 143) ;; *) break ;; esac
    [ "$try" -lt "$tries" ] || break
    echo "embed.sh: exit code $code, attempt $try of $tries; again in $wait_s s" >&2
    ended=$code
    run sleep "$wait_s"
    [ -z "$stopped" ] || exit "$ended"
    wait_s=$((wait_s * 2))
done

message="sam2-embed on $(uname -n) ended with exit code $code at attempt $try; its log says why"
echo "embed.sh: $message" >&2
[ -z "${EMBED_ALERT:-}" ] || bash -c "$EMBED_ALERT" <<<"$message"
exit "$code"
