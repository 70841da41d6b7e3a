# For sourcing: a vault of one's own, on ports that the system chose. Sets `program` and `tmp`; ends and removes what it
# made when the script ends.

program=${STRONGROOM:-${CARGO_TARGET_DIR:-$here/../../target}/release/strongroom}
tmp=$(mktemp -d)
daemon=
# Whether providers are asked. They are not here, and nothing may leave this machine.
probes=false

cleanup() {
  [ -z "$daemon" ] || { kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$tmp"
}
trap cleanup EXIT

# HOME [TOML]: starts the daemon and exports STRONGROOM_ADDR, STRONGROOM_TOKEN, REST and OPS. On a HOME that was used
# before, the token stays the one that was exported then.
start_vault() {
  local home=$1 waited
  mkdir -p "$home"
  printf '[listen]\ngrpc = "127.0.0.1:0"\nrest = "127.0.0.1:0"\nops = "127.0.0.1:0"\n[probe]\nenabled = %s\n%s\n' "$probes" "${2:-}" >"$home/strongroom.toml"
  : >"$home/said"
  (cd "$home" && exec "$program" serve --dev --config strongroom.toml >said 2>>log) &
  daemon=$!
  for waited in {1..1200}; do
    if grep -q '^# next:' "$home/said"; then break; fi
    kill -0 "$daemon" 2>/dev/null || { cat "$home/log" >&2; daemon=; fail 'the daemon did not start'; }
    [ "$waited" -lt 1200 ] || fail 'the daemon does not get ready'
    sleep 0.05
  done
  . "$home/said"
  REST=$(sed -n 's/.*REST on \([^,]*\),.*/\1/p' "$home/said")
  OPS=$(sed -n 's/.*metrics on \(.*\)$/\1/p' "$home/said")
  export STRONGROOM_ADDR STRONGROOM_TOKEN REST OPS
}

# Asks it to finish, and waits for a good end.
stop_vault() {
  kill -TERM "$daemon"
  local ended=0
  wait "$daemon" || ended=$?
  daemon=
  [ "$ended" = 0 ] || fail "the daemon ended with $ended"
}

fail() {
  printf 'FAILED: %s\n' "$1" >&2
  exit 1
}
