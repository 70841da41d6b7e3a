#!/usr/bin/env bash
# Client certificates that OpenSSL made, presented by OpenSSL's client and by Python's gRPC: who comes in, who is refused,
# and that no session is resumed, so that an authority that is gone is gone.
#
#   mtls.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
mkdir -p "$1" && cd "$1"
spiffe=spiffe://acme.test/ns/prod/api

# NAME: an authority that can revoke.
authority() {
  mkdir "$1" && : >"$1/index" && printf '01\n' >"$1/serial" && printf '01\n' >"$1/crlnumber"
  printf '[ca]\ndefault_ca = it\n[it]\ndatabase = %s/index\nserial = %s/serial\ncrlnumber = %s/crlnumber\n' "$1" "$1" "$1" >"$1/cnf"
  printf 'default_md = sha256\ndefault_crl_days = 1\nnew_certs_dir = %s\npolicy = any\n[any]\ncommonName = supplied\n' "$1" >>"$1/cnf"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$1/key" -out "$1.pem" -days 2 \
    -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  list "$1"
}

# AUTHORITY: a fresh revocation list.
list() {
  openssl ca -config "$1/cnf" -keyfile "$1/key" -cert "$1.pem" -gencrl -out "$1.crl" 2>/dev/null
}

# AUTHORITY NAME SAN: a client's certificate.
client() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$2.key" -out "$2.csr" -subj "/CN=$2" 2>/dev/null
  printf 'subjectAltName = %s\nextendedKeyUsage = clientAuth\nbasicConstraints = critical,CA:FALSE\n' "$3" >"$2.ext"
  openssl ca -batch -notext -config "$1/cnf" -keyfile "$1/key" -cert "$1.pem" -days 1 -in "$2.csr" -out "$2.pem" \
    -extfile "$2.ext" 2>/dev/null
}

# OPTION...: asks for a list; the status line, or nothing.
ask() {
  printf 'GET /integrations/acme HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' |
    openssl s_client -quiet -ign_eof -connect "$REST" -servername localhost -verify_return_error -CAfile server.pem "$@" 2>said |
    sed -n '1s/\r//p' || true
}

# STATUS OPTION...
answers() {
  local said
  said=$(ask "${@:2}")
  [[ $said == "HTTP/1.1 $1 "* || $said == "HTTP/1.1 $1" ]] || fail "with ${*:2} the answer is '$said', not $1: $(cat said)"
}

# ALERT OPTION...: no answer, and the daemon's alert.
refuses() {
  local answer
  answer=$(ask "${@:2}")
  [ -z "$answer" ] || fail "with ${*:2} it answered $answer"
  grep -Eq "alert $1" said || fail "with ${*:2} there is no alert '$1': $(cat said)"
}

# OPTION...: how many of OpenSSL's reconnections resume.
resumed() {
  openssl s_client -reconnect -connect "$REST" -servername localhost -CAfile server.pem "$@" </dev/null 2>&1 |
    grep -c '^Reused' || true
}

reload() {
  local before waited
  before=$(grep -c 'were read anew' vault/log || true)
  kill -HUP "$daemon"
  for waited in {1..600}; do
    [ "$(grep -c 'were read anew' vault/log)" = "$before" ] || return 0
    sleep 0.05
  done
  fail "it does not reload $waited: $(tail -n 3 vault/log)"
}

openssl req -x509 -newkey rsa:2048 -noenc -keyout server.key -out server.pem -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null
authority ours
authority theirs
client ours api "URI:$spiffe"
client ours build DNS:build.acme.test
client ours nobody DNS:nobody.acme.test
client theirs stranger "URI:$spiffe"
cp ours.pem clients.pem && cp ours.crl clients.crl
cat >callers.toml <<END
[[caller]]
name = "api"
from = "mtls"
when = { spiffe = "$spiffe" }
role = "service"
org = "acme"
[[caller]]
name = "build"
from = "mtls"
when = { dns = "build.acme.test" }
role = "service"
org = "acme"
END
tls="[tls]
cert = \"$PWD/server.pem\"
key = \"$PWD/server.key\""

# What is looked for is there to be found: without client certificates, sessions are resumed.
start_vault "$PWD/plain" "$tls"
[ "$(resumed -tls1_2)" -gt 0 ] || fail 'OpenSSL resumes nothing, so the test below proves nothing'
stop_vault

start_vault "$PWD/vault" "$tls
client_authorities = \"$PWD/clients.pem\"
client_crl = \"$PWD/clients.crl\"
[authn]
callers = \"$PWD/callers.toml\""
for version in -tls1_3 -tls1_2; do
  answers 200 $version -cert api.pem -key api.key
  answers 200 $version -cert build.pem -key build.key
  answers 401 $version -cert nobody.pem -key nobody.key
  answers 401 $version
  refuses 'unknown ca' $version -cert stranger.pem -key stranger.key
  [ "$(resumed $version -cert api.pem -key api.key)" = 0 ] || fail "a session is resumed with $version"
done
printf 'mtls: OpenSSL comes in by SPIFFE id and by DNS name; strangers are refused, and no session is resumed\n'

python3 "$here/mtls_grpc.py" api build stranger
"$program" list acme --ca server.pem --client-cert api.pem --client-key api.key >listed 2>&1 || fail "$(cat listed)"

# A session that was made before does not outlive its certificate's revocation, or its authority.
openssl s_client -tls1_2 -sess_out session -connect "$REST" -CAfile server.pem -cert build.pem -key build.key </dev/null >/dev/null 2>&1
openssl ca -config ours/cnf -keyfile ours/key -cert ours.pem -revoke build.pem 2>/dev/null
list ours && cp ours.crl clients.crl
reload
if [ -s session ]; then refuses 'certificate revoked' -tls1_2 -sess_in session -cert build.pem -key build.key; fi
refuses 'certificate revoked' -tls1_3 -cert build.pem -key build.key
answers 200 -cert api.pem -key api.key
cp theirs.pem clients.pem && cp theirs.crl clients.crl
reload
refuses 'unknown ca' -cert api.pem -key api.key
answers 200 -cert stranger.pem -key stranger.key
printf 'mtls: what is revoked, and whose authority is gone, is refused after a reload\n'
stop_vault
