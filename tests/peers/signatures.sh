#!/usr/bin/env bash
# Sets up credentials of five clouds, which clouds.py plays and judges by libraries that are not ours: what is right
# becomes active, and what is wrong invalid.
#
#   signatures.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
home=$1
mkdir -p "$home"

python3 "$here/clouds.py" "$home" 2>"$home/clouds.log" &
clouds=$!
trap 'kill "$clouds" 2>/dev/null || true; cleanup' EXIT
for waited in {1..1200}; do
  if [ -e "$home/vault.toml" ]; then break; fi
  kill -0 "$clouds" 2>/dev/null || { cat "$home/clouds.log" >&2; fail 'the clouds did not start'; }
  [ "$waited" -lt 1200 ] || fail 'the clouds do not get ready'
  sleep 0.05
done
probes=true
start_vault "$home/vault" "$(cat "$home/vault.toml")"

tried=0
for upload in "$home"/uploads/*.json; do
  IFS=. read -r provider name state _ <<<"$(basename "$upload")"
  # A refused credential is stored too, and the command says so by its exit code.
  "$program" setup acme "$provider" --name "$name" --document "$upload" --output json >"$home/said" 2>"$home/why" || true
  got=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"]["state"])' "$home/said") ||
    fail "$provider $name: $(cat "$home/said" "$home/why")"
  [ "$got" = "$state" ] || fail "$provider $name is $got, not $state: $(cat "$home/said" "$home/judged")"
  tried=$((tried + 1))
done
[ "$tried" = 19 ] || fail "$tried credentials were tried"
if grep '^FLAW' "$home/judged" >&2; then fail 'a request was wrong in more than its key'; fi

# WHAT IT SAYS, METHOD AND ADDRESS: a judge has accepted such a request.
judged() {
  grep -qF "good: $2" "$home/judged" || fail "nobody judged: $1"
  printf 'signatures: %s\n' "$1"
}
judged 'moto and botocore accept the SigV4 of STS, temporary keys too; not that AWS does' 'POST sts.us-east-1.amazonaws.com/'
judged 'botocore accepts the SigV4 of Bedrock; not that AWS does' 'GET bedrock.us-east-1.amazonaws.com/foundation-models'
judged "PyJWT accepts Google's assertion; not that Google knows the account" 'POST oauth2.googleapis.com/token'
judged "PyJWT accepts Azure's assertion; not that Azure takes PS256 for every tenant" 'POST login.microsoftonline.com/'
judged "cryptography accepts Oracle's signature; bodies are not signed here" 'GET identity.eu-frankfurt-1.oci.oraclecloud.com/'
judged "PyJWT accepts Snowflake's token; not that Snowflake spells the account so" 'POST acmeorg-prod.snowflakecomputing.com/'
stop_vault
if grep -qE 'PRIVATE KEY|four words of ours' "$home/vault/log"; then fail 'the log holds a secret'; fi
