#!/usr/bin/env bash
# A file system that is really full. Needs root, because it mounts a small tmpfs; fails when it may not.
#
#   disk_full.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
mkdir -p "$1/disk" && cd "$1"
disk=$PWD/disk

mount -t tmpfs -o size=2m,mode=0700 strongroom-test "$disk" || fail 'a tmpfs cannot be mounted: this needs root'
trap 'cleanup; umount "$disk"' EXIT
config="[store]
url = \"sqlite://$disk/strongroom.db\"
[kms.local]
directory = \"$PWD/keys\""
start_vault "$PWD/vault" "$config"

key() {
  printf 'sk-proj-%058dT3BlbkFJ%058d' "$1" "$1"
}

# NUMBER: a setup; its exit code.
store() {
  local code=0
  key "$1" | "$program" setup acme openai --name "n$1" --no-probe >/dev/null 2>said || code=$?
  return $code
}

decrypt() {
  local code=0
  "$program" decrypt acme openai --name "n$1" >secret 2>said || code=$?
  [ -s secret ] && answered=$((answered + 1))
  return $code
}
answered=0

# Other people's files take most of the space, so that it is our own writes that meet the end of it.
store 0 || fail "the first setup: $(cat said)"
decrypt 0 || fail "the first decrypt: $(cat said)"
[ "$(cat secret)" = "$(key 0)" ] || fail 'decrypt answered something else'
free=$(df --output=avail -k "$disk" | tail -1)
head -c $(((free - 200) * 1024)) /dev/zero >"$disk/others"
acknowledged=(0)
for n in {1..2000}; do
  if store "$n"; then acknowledged+=("$n"); else break; fi
done
refused=$n
grep -q 'UNAVAILABLE\|unavailable' said || fail "setup $n failed with: $(cat said)"
printf 'disk: full after %d setups were acknowledged and one was refused\n' "${#acknowledged[@]}"

# No room for the record, so no answer; the plaintext is in the cache all the while. Where the daemon finds room by
# tidying up, the room goes too.
refusals=0
for n in {1..500}; do
  cat /dev/zero >>"$disk/others" 2>/dev/null || true
  code=0; decrypt 0 || code=$?
  case $code in
    0) ;;
    9) refusals=$((refusals + 1)) && [ ! -s secret ] || fail 'a plaintext was answered together with a refusal' ;;
    *) fail "a decrypt on a full disk left with $code: $(cat said)" ;;
  esac
  [ $refusals -lt 20 ] || break
  [ "$n" -lt 500 ] || fail "decrypts are recorded without end on a full disk; $refusals of $n were refused"
done
printf 'authorization: Bearer %s\n' "$STRONGROOM_TOKEN" >token
cat /dev/zero >>"$disk/others" 2>/dev/null || true
curl --silent -H @token -H 'content-type: application/json' -d '{"name": "n0"}' \
  "http://$REST/integrations/acme/openai/decrypt" >said
grep -q '"reason":"AUDIT_UNAVAILABLE"' said || fail "REST says $(cat said)"
curl --silent --fail "http://$OPS/healthz" >/dev/null || fail 'it does not even say that it is alive'

# Space again: it comes back by itself.
rm "$disk/others"
for waited in {1..200}; do
  if decrypt 0; then break; fi
  [ "$waited" -lt 200 ] || fail "it does not recover: $(cat said)"
  sleep 0.1
done
store "$refused" || fail "a setup after the recovery: $(cat said)"
acknowledged+=("$refused")

everything_is_there() {
  local n
  for n in "${acknowledged[@]}"; do
    decrypt "$n" || fail "n$n was acknowledged and is lost $1: $(cat said)"
    [ "$(cat secret)" = "$(key "$n")" ] || fail "n$n is something else $1"
  done
  local recorded
  recorded=$("$program" audit list --action decrypt --outcome ok --limit 100000 --output json | grep -c '"sequence"')
  [ "$recorded" = "$answered" ] || fail "$answered plaintexts were answered and $recorded recorded $1"
  "$program" audit verify >said || fail "the audit log $1: $(cat said)"
}
everything_is_there 'after the recovery'
kill -9 "$daemon" && wait "$daemon" 2>/dev/null || true
start_vault "$PWD/vault" "$config"
everything_is_there 'after the restart'
printf 'disk: recovered by itself; %d credentials are whole, %s\n' "${#acknowledged[@]}" "$(cat said)"
stop_vault
