#!/usr/bin/env bash
# The life of a credential over REST with nothing but curl, and Python's json to read answers. Reads REST, OPS and
# STRONGROOM_TOKEN. Tokens and secrets reach curl by stdin and files, never as arguments.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

as() {
  printf 'authorization: Bearer %s\n' "$1" >"$work/token"
}
as "$STRONGROOM_TOKEN"

# STATUS METHOD PATH [curl option...]: calls and expects the status. The answer is in $work/body and $work/head.
call() {
  local expected=$1 method=$2 path=$3 status
  shift 3
  status=$(curl --silent --show-error --max-time 30 --path-as-is --globoff -H "@$work/token" -X "$method" \
    -o "$work/body" -D "$work/head" -w '%{http_code}' "$@" "http://$REST$path")
  [ "$status" = "$expected" ] || fail "$method $path: $status instead of $expected: $(cat "$work/body")"
  grep -qi '^cache-control: no-store' "$work/head" || fail "$method $path: caches may keep the answer"
}

# JSON from stdin.
send() {
  call "$@" -H 'content-type: application/json' --data-binary @-
}

# EXPRESSION EXPECTED: what Python finds in the answer, as `it`.
is() {
  local found
  found=$(python3 -c 'import json, sys; it = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$work/body" "$1")
  [ "$found" = "$2" ] || fail "$1 is $found instead of $2"
}

# STATUS REASON, after a call: an RFC 9457 problem that names both, with the request's id in body and head.
problem() {
  grep -qi '^content-type: application/problem+json' "$work/head" || fail 'not a problem+json'
  is 'it["status"], it["reason"]' "($1, '$2')"
  is 'it["type"]' "urn:strongroom:problem:$2"
  is "it['request_id'] == '$(sed -n 's/^x-request-id: \([^\r]*\).*/\1/Ip' "$work/head")'" True
}

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}

said() {
  printf 'rest: %s\n' "$1"
}

invented_key() {
  local half
  half=$(head -c 29 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
  printf 'sk-proj-%sT3BlbkFJ%s' "$half" "$half"
}

upload() {
  printf '{"fields": {"api_key": "%s"}, "no_probe": true}' "$1"
}

base=/integrations/acme/openai
first=$(invented_key) second=$(invented_key)

upload "$first" | send 200 POST $base/setup
is 'it["credential"]["state"], it["version"]["version"]' "('active', 1)"
is 'it["credential"]["fingerprint"]' "$(printf %s "$first" | sha256sum | cut -c1-8)"
if grep -q T3BlbkFJ "$work/body"; then fail 'the secret travelled back'; fi
call 200 GET "/integrations/acme?provider=openai"
is 'len(it["credentials"]), it["credentials"][0]["name"]' "(1, 'default')"
call 200 GET $base
etag=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["credential"]["etag"])' <"$work/body")
said 'set up, listed, shown'

send 200 POST $base/decrypt <<<'{}'
is 'it["secret"], it.get("cached", False)' "('$first', False)"
send 200 POST $base/decrypt <<<'{}'
is 'it["secret"], it["cached"]' "('$first', True)"
send 200 POST $base/decrypt <<<'{"fresh": true}'
is 'it.get("cached", False)' False
send 200 POST $base/validate <<<'{}'
is 'it["probe"]["outcome"], it["probe"]["reason"]' "('untested', 'disabled')"
said 'decrypted cold, warm and fresh; validated'

upload "$second" | send 200 POST $base/setup
is 'it["version"]["version"]' 2
send 200 POST $base/decrypt <<<'{}'
is 'it["secret"]' "$second"
call 200 POST $base/versions/1/activate
send 200 POST $base/decrypt <<<'{}'
is 'it["secret"]' "$first"
call 200 GET $base/versions
is '[(v["version"], v["state"]) for v in it["versions"]]' "[(2, 'superseded'), (1, 'active')]"
said 'rotated and rolled back'

send 200 PUT $base/metadata <<<'{"metadata": {"environment": "prod"}, "labels": {"labels": {"team": "search"}}}'
is 'it["credential"]["metadata"]["environment"]' prod
call 200 GET '/integrations/acme?labels=team%3Dsearch&page_size=10'
is 'len(it["credentials"])' 1
send 409 PUT $base/metadata <<<"{\"disabled\": true, \"etag\": \"$etag\"}"
problem 409 CONFLICT
send 200 PUT $base/metadata <<<'{"disabled": true}'
send 400 POST $base/decrypt <<<'{}'
problem 400 REFUSED
is 'it["outcome"]' disabled
send 200 PUT $base/metadata <<<'{"disabled": false}'
said 'metadata, labels, etags, disabled and enabled'

# A document: kept byte for byte where the format says so, here as canonical JSON.
printf '{"document": {"user": "é", "password": "hunter2 ☃"}, "no_probe": true}' |
  send 200 POST "/integrations/acme/saas_generic/setup?name=b%2Dside&project=emea"
is 'it["credential"]["name"], it["credential"]["project"]' "('b-side', 'emea')"
is 'it["credential"]["fingerprint"][:2]' 'k:'
send 200 POST "/integrations/acme/saas%5Fgeneric/decrypt?name=b-side&project=emea" <<<'{}'
is 'it["secret"]' '{"password":"hunter2 ☃","user":"é"}'
printf '{"fields": {"api_token": "%s"}, "no_probe": true}' "cfut_$(printf '%040d' 7)0123abcd" |
  send 200 POST /integrations/acme/cloudflare/setup
is 'it["version"]["seal"]' fernet
send 200 POST /integrations/acme/decrypt <<<'{"credentials": [{"provider": "cloudflare"}, {"provider": "aws_keys"}]}'
is '[sorted(r) for r in it["results"]]' "[['decrypted'], ['failure']]"
said 'documents, percent-encoded paths, the other seal, a batch'

send 200 POST /admin/tokens <<<'{"name": "nightly", "role": "pipeline", "org": "acme", "providers": ["openai"]}'
id=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["info"]["id"])' <"$work/body")
as "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])' <"$work/body")"
send 200 POST $base/decrypt <<<'{}'
call 403 GET /integrations/acme
problem 403 DENIED
send 403 POST /integrations/acme/cloudflare/decrypt <<<'{}'
problem 403 DENIED
forbidden=$(python3 -c 'import json, sys; it = json.load(sys.stdin); it.pop("request_id"); print(it)' <"$work/body")
send 403 POST '/integrations/acme/cloudflare/decrypt?name=nobody' <<<'{}'
absent=$(python3 -c 'import json, sys; it = json.load(sys.stdin); it.pop("request_id"); print(it)' <"$work/body")
[ "$forbidden" = "$absent" ] || fail "absent and forbidden differ: $absent, $forbidden"
as "$STRONGROOM_TOKEN"
call 200 DELETE "/admin/tokens/$id"
call 200 GET '/admin/tokens?org=acme'
is "[t['id'] for t in it['tokens'] if 'revoked_at' in t]" "['$id']"
as srt_guessed
call 401 GET $base
problem 401 UNAUTHENTICATED
grep -qi '^www-authenticate: Bearer' "$work/head" || fail 'a 401 without a challenge'
as "$STRONGROOM_TOKEN"
said 'tokens issued and revoked, callers refused'

# What is no proper request is refused by field and rule, and the value is not repeated.
bad() {
  send "$1" POST $base/setup
  problem "$1" "$2"
  if grep -q canary "$work/body"; then fail "the answer repeats what was sent: $(cat "$work/body")"; fi
}
printf '{"fields": {"api_key": "sk-canary"}}' | bad 400 INVALID
is '"api_key" in it["field"]' True
printf '{"fields": {"api_key": "canary' | bad 400 INVALID
printf '{"fields": {"api_key": "canary\xff"}}' | bad 400 INVALID
printf '{"apikey": "canary"}' | bad 400 INVALID
printf '{"etag": "canary", "etag": "canary"}' | bad 400 INVALID
printf '[]' | bad 400 INVALID
python3 -c 'print("[" * 100 + "]" * 100)' | bad 400 INVALID
printf '{"org": "canary"}' | bad 400 INVALID
head -c 1100000 /dev/zero | tr '\0' ' ' | bad 413 TOO_LARGE
call 415 POST $base/setup -H 'content-type: text/plain' --data-binary '{}'
problem 415 MEDIA_TYPE
call 400 GET '/integrations/acme?nonsense=1'
problem 400 INVALID
call 400 GET '/integrations/ac%FFme'
problem 400 INVALID
call 404 GET /nowhere
problem 404 NO_ROUTE
call 405 PATCH $base
problem 405 NO_METHOD
call 404 GET "$base?name=nobody"
problem 404 NOT_FOUND
call 400 GET '/integrations/..%2Facme/openai'
problem 400 INVALID
said 'bad requests are told what is wrong, and not what they said'

call 200 DELETE "$base?destroy_after=3600s"
send 404 POST $base/decrypt <<<'{}'
call 200 POST $base/undelete
send 200 POST $base/decrypt <<<'{}'
is 'it["secret"]' "$first"
upload "$(invented_key)" | send 200 POST "$base/setup?name=gone"
call 200 DELETE "$base?name=gone"
call 404 POST "$base/undelete?name=gone"
problem 404 NOT_FOUND
call 200 GET '/integrations/acme?state=deleted'
is '[c["name"] for c in it["credentials"]]' "['gone']"
said 'deleted, taken back, destroyed'

call 200 GET '/admin/audit?action=decrypt&outcome=DENIED&org=acme'
is 'len(it["records"]), {r["caller_name"] for r in it["records"]}' "(2, {'nightly'})"
send 200 POST /admin/audit/verify <<<'{}'
is 'it["intact"]' True
call 200 GET /admin/providers
is '"openai" in [p["id"] for p in it["providers"]]' True
for path in healthz readyz metrics; do
  curl --silent --show-error --fail --max-time 10 "http://$OPS/$path" >"$work/body"
done
grep -q '^strongroom_requests_total' "$work/body" || fail 'the metrics count no requests'
if grep -qF -e "$first" -e "$second" -e "$STRONGROOM_TOKEN" "$work/body"; then fail 'the metrics hold a secret'; fi
said 'audit, providers, health and metrics'
