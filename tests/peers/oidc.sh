#!/usr/bin/env bash
# Callers by tokens that others minted: npm's oidc-provider, found by discovery over TLS, and PyJWT, whose keys are in a
# file. Each is accepted and refused as callers.toml says.
#
#   oidc.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/vault.sh"
mkdir -p "$1" && cd "$1"

# An authority of our own, and the issuer's certificate by it.
openssl req -x509 -newkey rsa:2048 -noenc -keyout authority.key -out authority.pem -days 2 -subj /CN=authority \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -newkey rsa:2048 -noenc -keyout server.key -out server.csr -subj /CN=issuer.example 2>/dev/null
printf 'subjectAltName=DNS:issuer.example\nbasicConstraints=critical,CA:FALSE\n' >server.ext
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile server.ext \
  -out server.pem 2>/dev/null

node "$here/issuer.mjs" "$PWD" >issuer.log 2>&1 &
issuer=$!
trap 'kill "$issuer" 2>/dev/null || true; cleanup' EXIT
for waited in {1..1200}; do
  if [ -e port ]; then break; fi
  kill -0 "$issuer" 2>/dev/null || { cat issuer.log >&2; fail 'the issuer did not start'; }
  [ "$waited" -lt 1200 ] || fail 'the issuer does not get ready'
  sleep 0.05
done
port=$(cat port)
mkdir tokens
python3 "$here/tokens.py" tokens https://py.example

cat >callers.toml <<END
[[issuer]]
name = "provider"
issuer = "https://issuer.example"
audience = "strongroom"
algorithms = ["RS256", "ES256", "EdDSA"]
claims = { team = "team", run = "/run/id" }
leeway = "1s"

[[issuer]]
name = "py"
issuer = "https://py.example"
audience = "strongroom"
algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
jwks = "file:$PWD/tokens/keys.json"
claims = { team = "team" }

[[caller]]
name = "blue robots"
from = "provider"
when = { team = "blue", run = "4711" }
role = "pipeline"
org = "acme"
providers = ["openai"]

[[caller]]
name = "blue snakes"
from = "py"
when = { team = "blue" }
role = "pipeline"
org = "acme"
providers = ["openai"]
END
start_vault "$PWD/vault" "[authn]
callers = \"$PWD/callers.toml\"
[outbound]
authorities = \"$PWD/authority.pem\"
private_hosts = [\"issuer.example=127.0.0.1:$port\"]"
printf 'sk-proj-%058dT3BlbkFJ%058d' 1 2 >key
"$program" setup acme openai --no-probe <key >/dev/null

# CLIENT RESOURCE: a token of the provider.
mint() {
  curl --silent --show-error --fail --cacert authority.pem --connect-to "issuer.example:443:127.0.0.1:$port" \
    --user "$1:$1-secret" -d grant_type=client_credentials -d "resource=urn:vault:$2" https://issuer.example/token |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'
}

# NAME TOKEN
accepted() {
  local got
  got=$(STRONGROOM_TOKEN=$2 "$program" decrypt acme openai 2>said) || fail "$1 was refused: $(cat said vault/log)"
  [ "$got" = "$(cat key)" ] || fail "$1: decrypt answered something else"
}

# NAME TOKEN CAUSE: refused as anybody is, and the operator reads why.
refused() {
  if STRONGROOM_TOKEN=$2 "$program" decrypt acme openai >said 2>&1; then fail "$1 was accepted"; fi
  grep -q 'no valid token' said || fail "$1 was refused otherwise: $(cat said)"
  for waited in {1..200}; do
    if grep -qF "a JWT is refused: $3" vault/log; then return; fi
    sleep 0.05
  done
  fail "$1: the log does not say: $3"
}

for resource in good es256 eddsa; do accepted "$resource" "$(mint blue-robot $resource)"; done
refused 'another team' "$(mint red-robot good)" 'of provider: it fits no [[caller]]: blue robots by team'
refused 'another algorithm' "$(mint blue-robot ps256)" "of provider: its \`alg\` is none that this issuer signs with"
refused 'another audience' "$(mint blue-robot elsewhere)" "its \`aud\` is not this issuer's \`audience\`"
refused 'a long life' "$(mint blue-robot long)" "of provider: it is good for longer than this issuer's \`max_age\`"
short=$(mint blue-robot short)
good=$(mint blue-robot good)
sleep 2.5
refused 'an expired one' "$short" 'of provider: it has expired'
printf 'oidc: tokens of oidc-provider are accepted and refused as configured\n'

kill "$issuer"
wait "$issuer" || true
accepted 'one whose issuer is gone' "$good"
printf 'oidc: the keys of an issuer that is gone serve on\n'

count=0
for token in tokens/*.*; do
  IFS=. read -r verdict name <<<"$(basename "$token")"
  case $verdict in
    accept) accepted "$name" "$(cat "$token")" ;;
    refuse) refused "$name" "$(cat "$token")" '' ;;
    *) continue ;;
  esac
  count=$((count + 1))
done
[ "$count" = 23 ] || fail "$count tokens of PyJWT were tried"
printf 'oidc: PyJWT and the daemon agree about %d tokens\n' "$count"
stop_vault
if grep -qE 'eyJ|T3BlbkFJ' vault/log; then fail 'the log holds a token or a secret'; fi
