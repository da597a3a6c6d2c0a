#!/usr/bin/env bash
# onnxruntime 1.31.1 (Linux wheel, x86-64, Python 3.11): telemetry is on unless the environment turns it off.
#
# Seen: `import onnxruntime` alone, without any session, makes
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid      an id of the device, kept for good
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db    the queue of its events
# and a process that runs a session looks mobile.events.data.microsoft.com up (seen with strace; not tried here). With
# ORT_DISABLE_TELEMETRY=1 in the environment before the import, neither happens. `disable_telemetry_events()` comes too
# late: it is there only after the import. 1.29.0 and 1.30.0 do the same, 1.27.0 does not. Privacy.md in the wheel says so.
#
# One would guess: a library for inference writes nothing at home and calls nobody; telemetry, if any, is Windows's, as
# it was for years.
#
# Hurt: who serves other people's data and has promised that nothing leaves; who runs where the home is read-only or the
# network watched; who ships devices, each of which gets an id.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxruntime==1.31.1 numpy==2.4.6 flatbuffers==25.12.19 packaging==26.3 protobuf==7.36.2

# Files that are at a new user's home after the import; the id itself is nobody's business.
files_after_import() {
  local home=$folder/$1
  mkdir "$home"
  env -u ORT_DISABLE_TELEMETRY -u XDG_CACHE_HOME HOME="$home" "${@:2}" "$folder/venv/bin/python" -c "$program"
  (cd "$home" && find . -type f | sort)
}

program='import onnxruntime'
default=$(files_after_import default)
program='import onnxruntime; onnxruntime.disable_telemetry_events()'
late=$(files_after_import late)
program='import onnxruntime'
off=$(files_after_import off ORT_DISABLE_TELEMETRY=1)

printf 'by default:\n%s\n\ndisable_telemetry_events() after the import:\n%s\n\nORT_DISABLE_TELEMETRY=1:\n%s\n' \
  "$default" "$late" "${off:-(nothing)}"

id=.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid
grep -qF "$id" <<<"$default" || { echo "changed: no device id by default" >&2; exit 1; }
grep -qF "$id" <<<"$late" || { echo "changed: no device id before disable_telemetry_events()" >&2; exit 1; }
[[ -z $off ]] || { echo "changed: files in spite of ORT_DISABLE_TELEMETRY=1" >&2; exit 1; }
