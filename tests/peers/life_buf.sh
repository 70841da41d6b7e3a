#!/usr/bin/env bash
# buf's client, which learns everything by reflection: it finds every method and runs a short life. The token reaches it
# by a file, never as an argument.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077
printf 'authorization: Bearer %s\n' "$STRONGROOM_TOKEN" >"$work/token"

call() {
  buf curl --http2-prior-knowledge --protocol grpc "$@"
}

# METHOD JSON
credential() {
  call -H "@$work/token" --data @- "$STRONGROOM_ADDR/strongroom.v1.CredentialService/$1" <<<"$2"
}

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}

call --list-methods "$STRONGROOM_ADDR" | sort >"$work/found"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for service in Credential:credentials Admin:admin; do
  sed -n "s,^  rpc \([A-Za-z]*\)(.*,strongroom.v1.${service%:*}Service/\1,p" "$here/../../proto/strongroom/v1/${service#*:}.proto"
done | sort >"$work/expected"
missing=$(comm -13 "$work/found" "$work/expected")
[ -s "$work/expected" ] && [ -z "$missing" ] || fail "reflection does not show: $missing"
printf 'buf: reflection shows all %d methods\n' "$(wc -l <"$work/expected")"

key=$(printf 'sk-proj-%058dT3BlbkFJ%058d' 1 2)
bytes=$(printf %s "$key" | base64 -w0)
named='"org": "acme", "provider": "openai"'
credential SetupCredential "{$named, \"fields\": {\"api_key\": {\"value\": \"$bytes\"}}, \"no_probe\": true}" >"$work/done"
if grep -q "$bytes" "$work/done"; then fail 'the secret travelled back'; fi
credential DecryptCredential "{$named}" >"$work/done"
grep -q "\"$bytes\"" "$work/done" || fail 'decrypt answered something else'
credential DeleteCredential "{$named}" >/dev/null
if credential GetCredential "{$named}" 2>"$work/refused"; then fail 'a deleted credential is shown'; fi
sed -n 's/.*"value": "\(.*\)".*/\1/p' "$work/refused" | base64 -d | grep -aq NOT_FOUND || fail "the refusal has no reason: $(cat "$work/refused")"
printf 'buf: set up, decrypted, deleted, and told why it is gone\n'
