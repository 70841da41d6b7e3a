#!/usr/bin/env bash
# A vault whose keys are in a key service: that of an account, or a fake that is not ours. README.md says what it proves.
#
#   kms.sh aws|transit|azure|account DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
kind=$1 home=$2
mkdir -p "$home"
services=()
trap 'for service in "${services[@]}"; do kill "$service" 2>/dev/null || true; done; cleanup' EXIT

main() {
  "prepare_$kind"
  start_vault "$home/vault" "$config"
  setup one
  [ "$kind" = account ] || change rotate
  setup two
  # Nothing is in a cache any more: each wrap is opened by the service.
  stop_vault
  checked || fail "serve --check: $(cat "$home/said")"
  start_vault "$home/vault" "$config"
  opens one && opens two
  stop_vault
  if [ "$kind" != account ]; then
    change deny
    checked && fail 'a key that may not be used passed the check'
    grep -qF "$KMS_URI" "$home/said" || fail "the key is not named: $(cat "$home/said")"
    grep -qE "$told" "$home/said" || fail "the operator is not told what to do: $(cat "$home/said")"
    change allow
  fi
  grep -qF "${secret:-no secret}" "$home/vault/log" && fail 'the log holds a secret'
  [ "$kind" = account ] || opened_elsewhere
}

setup() {
  printf '{"user": "%s", "password": "hunter-%s"}' "$1" "$1" |
    "$program" setup acme saas_generic --name "$1" --document - --no-probe >/dev/null
}

opens() {
  "$program" decrypt acme saas_generic --name "$1" | grep -qF "hunter-$1" || fail "$1 does not open"
}

checked() {
  (cd "$home/vault" && "$program" serve --check --config strongroom.toml) >"$home/said" 2>&1
}

change() {
  PEER_HOME=$home python3 "$here/kms.py" "$kind" "$1" "$home"
}

# By another program, through a client that is not ours.
opened_elsewhere() {
  PEER_HOME=$home python3 "$here/decrypt.py" data "$home/vault/strongroom-data" >"$home/opened" ||
    { cat "$home/opened" >&2; fail 'another client does not open it'; }
  [ "$(grep -c ' version ' "$home/opened")" = 2 ] || fail "not two versions: $(cat "$home/opened")"
}

# HOST...: certificates for these, and a port for each.
begin() {
  python3 "$here/kms.py" certificates "$home" "$@"
  export PEER_CA=$home/ca.pem
  local host port at=()
  ports=()
  for host in "$@"; do
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    ports+=("$port") at+=("\"$host=127.0.0.1:$port\"")
  done
  places=$(IFS=,; printf '%s' "${at[*]}")
}

# Waits for the service, makes a key there and configures it.
ready() {
  PEER_HOME=$home python3 "$here/kms.py" "$kind" prepare "$home" >"$home/exports" || { cat "$home"/*.log >&2; exit 1; }
  . "$home/exports"
  config="[kms]
default = \"$KMS_URI\"
[outbound]
authorities = \"$home/ca.pem\"
private_hosts = [$places]"
}

prepare_aws() {
  begin kms.eu-central-1.amazonaws.com
  export PEER_URL=https://127.0.0.1:${ports[0]} INITIAL_NO_AUTH_ACTION_COUNT=6
  moto_server -H 127.0.0.1 -p "${ports[0]}" -c "$home/cert.pem" -k "$home/key.pem" >"$home/moto.log" 2>&1 &
  services+=($!)
  ready
  # Moto denies in a form that is none of AWS's: that there is a refusal is all it proves.
  told='AWS KMS answers 403' secret=$AWS_SECRET_ACCESS_KEY
}

# The port is a part of the key's name.
prepare_transit() {
  begin bao.example.com
  export PEER_URL=https://127.0.0.1:${ports[0]}
  cat >"$home/bao.hcl" <<EOF
storage "inmem" {}
listener "tcp" {
  address = "127.0.0.1:${ports[0]}"
  tls_cert_file = "$home/cert.pem"
  tls_key_file = "$home/key.pem"
}
api_addr = "$PEER_URL"
disable_mlock = true
EOF
  bao server -config "$home/bao.hcl" >"$home/bao.log" 2>&1 &
  services+=($!)
  ready
  told='`update` on team/transit/encrypt/strongroom' secret=$BAO_TOKEN
}

# ENTRA and KEYVAULT: emulators of one's own building.
prepare_azure() {
  local entra=${ENTRA:?names the program of entra-emulator} vault=${KEYVAULT:?names the program of azure-keyvault-emulator}
  local issuer=https://login.microsoftonline.com/6f89cf12-978b-4d23-ac18-9ef0c127cf87/v2.0
  begin contoso.vault.azure.net login.microsoftonline.com
  export PEER_URL=https://127.0.0.1:${ports[0]} PEER_ENTRA=https://127.0.0.1:${ports[1]}
  (cd "$home" && HOST=127.0.0.1 PORT=${ports[1]} PUBLIC_ORIGIN=https://login.microsoftonline.com ISSUER=$issuer \
    TLS_CERT=$home/cert.pem TLS_KEY=$home/key.pem ENTRA_DATA_DIR= exec "$entra") >"$home/entra.log" 2>&1 &
  services+=($!)
  mkdir -p "$home/keyvault/tls"
  cp "$home/cert.pem" "$home/key.pem" "$home/keyvault/tls"
  "$vault" -addr "127.0.0.1:${ports[0]}" -data-dir "$home/keyvault" -entra-issuer "$issuer" -entra-tls-insecure \
    -entra-jwks-url "$PEER_ENTRA/6f89cf12-978b-4d23-ac18-9ef0c127cf87/discovery/v2.0/keys" >"$home/keyvault.log" 2>&1 &
  services+=($!)
  ready
  told='disabled: enable it' secret=$AZURE_CLIENT_SECRET
}

# KMS_URI: a key of an account. Who strongroom is there, the environment or the platform says. KMS_TOML: more of the
# configuration, such as `[outbound]` for a server in a private network.
prepare_account() {
  config="[kms]
default = \"${KMS_URI:?names a key of an account, such as aws-kms://arn:aws:kms:…}\"
${KMS_TOML:-}"
}

main
