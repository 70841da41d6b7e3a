#!/usr/bin/env bash
# OpenSSL's client against the daemon's TLS, with a certificate that OpenSSL made: 1.3 and 1.2 are spoken, older
# versions and weak ciphers are refused by the daemon itself, and nothing is answered in plaintext.
#
#   tls.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
mkdir -p "$1" && cd "$1"

# KIND OPTION...: a self-signed certificate, as operators make them.
certificate() {
  openssl req -x509 -newkey "${@:2}" -noenc -keyout "$1.key" -out "$1.pem" -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null
}

# ADDRESS OPTION...: a handshake; what was agreed on, or the alert.
shake() {
  openssl s_client -connect "$1" -servername localhost -verify_return_error -CAfile "$kind.pem" "${@:2}" </dev/null 2>&1
}

# ADDRESS VERSION OPTION...
agrees() {
  local said
  said=$(shake "$1" "${@:3}") || fail "$1 does not speak $2: $said"
  grep -q "^New, $2, Cipher is" <<<"$said" || fail "$1 agreed on something else than $2: $said"
  grep -q 'Verify return code: 0 (ok)' <<<"$said" || fail "$1: the certificate does not verify"
}

# ADDRESS OPTION...: the client is willing, and the daemon sends the alert.
refuses() {
  local said
  if said=$(shake "$@"); then fail "$1 accepted ${*:2}"; fi
  grep -Eq 'alert (protocol version|handshake failure)' <<<"$said" || fail "$1 did not refuse ${*:2} with an alert: $said"
}

for kind in rsa ec; do
  case $kind in
    rsa) certificate rsa rsa:2048 ;;
    ec) certificate ec ec -pkeyopt ec_paramgen_curve:P-256 ;;
  esac
  start_vault "$PWD/$kind" "[tls]
cert = \"$PWD/$kind.pem\"
key = \"$PWD/$kind.key\""
  [[ $STRONGROOM_ADDR == https://* ]] || fail "the printed address is $STRONGROOM_ADDR"
  for address in "${STRONGROOM_ADDR#https://}" "$REST"; do
    agrees "$address" TLSv1.3 -tls1_3
    agrees "$address" TLSv1.2 -tls1_2
    # At security level 0 OpenSSL offers what is obsolete; without it, it would refuse by itself and prove nothing.
    refuses "$address" -tls1_1 -cipher DEFAULT@SECLEVEL=0
    refuses "$address" -tls1 -cipher DEFAULT@SECLEVEL=0
    refuses "$address" -tls1_2 -cipher AES128-SHA@SECLEVEL=0
    refuses "$address" -tls1_2 -cipher ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA@SECLEVEL=0
  done

  printf 'sk-proj-%058dT3BlbkFJ%058d' 1 2 >key
  "$program" setup acme openai --no-probe --ca "$kind.pem" <key >/dev/null
  [ "$("$program" decrypt acme openai --ca "$kind.pem")" = "$(cat key)" ] || fail 'decrypt answered something else'
  if "$program" list acme 2>said; then fail 'a client trusted a certificate that nobody vouches for'; fi
  grep -q 'certificate' said || fail "the refusal does not say why: $(cat said)"
  (umask 077 && printf 'authorization: Bearer %s\n' "$STRONGROOM_TOKEN" >token)
  curl --silent --show-error --fail --cacert "$kind.pem" -H @token "https://localhost:${REST##*:}/integrations/acme" >said
  grep -q '"openai"' said || fail 'curl was not shown the credential'
  if curl --silent -H @token "http://$REST/integrations/acme" >said && [ -s said ]; then fail 'REST answers in plaintext'; fi
  stop_vault
  if grep -q T3BlbkFJ "$kind/log"; then fail 'the log holds the secret'; fi
  printf 'tls: 1.3 and 1.2 are spoken with an %s certificate; 1.1, 1.0 and CBC or RSA key exchange are refused\n' "$kind"
done
