# bash infra/kuberay/nightly.sh '0 2 * * *' Etc/UTC | kubectl apply --namespace embedding --filename -    rayjob.yaml on a schedule, by KubeRay itself
#
# A RayCronJob: alpha in KubeRay 1.6 and 1.7, where its feature gate has to be on (helm: featureGates, RayCronJob). It cannot forbid runs that
# overlap, which is why it matters that they are harmless. Elsewhere any cron can create rayjob.yaml, which gets a new name each time.
set -euo pipefail
: "${1:?a schedule, such as '0 2 * * *'}" "${2:?a time zone, such as Etc/UTC}"
cat <<HEAD
apiVersion: ray.io/v1
kind: RayCronJob
metadata:
  name: sam2-embed
spec:
  schedule: "$1"
  timeZone: $2
  jobTemplate:
HEAD
sed -e '1,/^spec:$/d' -e 's/^/  /' "$(dirname "$0")/rayjob.yaml"
