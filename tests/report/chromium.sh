#!/usr/bin/env bash
# bash tests/report/chromium.sh FOLDER   a headless Chromium and the libraries that this Debian lacks, without root
set -euo pipefail
folder=$(realpath -m "$1")
rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/debs"
# Lists of its own: those of the system may be missing, and only root may fetch them.
apt=(apt-get -qq -o "Dir::State::lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" -o Debug::NoLocking=1)
"${apt[@]}" update
missing=$("${apt[@]}" --simulate --no-install-recommends install chromium-headless-shell fonts-dejavu-core |
    sed -n 's/^Inst \(\S*\) .*/\1/p')
(cd "$folder/debs" && "${apt[@]}" -o APT::Sandbox::User=root download $missing)
for deb in "$folder"/debs/*.deb; do
    dpkg -x "$deb" "$folder"
done
rm -rf "$folder/apt" "$folder/debs"
# Started through this, so that its libraries are found, and its fonts where the system has no list of any.
cat > "$folder/chromium" <<'SCRIPT'
#!/usr/bin/env bash
here=$(dirname "$(realpath "$0")")
triplet=$here/usr/lib/$(uname -m)-linux-gnu
export LD_LIBRARY_PATH="$triplet:$triplet/pulseaudio:$triplet/nss"
test -d /etc/fonts || export FONTCONFIG_PATH="$here/etc/fonts"
exec "$here/usr/lib/chromium/chromium-headless-shell" "$@"
SCRIPT
chmod +x "$folder/chromium"
"$folder/chromium" --version
