//! Whoever floods a listener with what HTTP/2, TLS or plain noise allow loses a connection; callers lose nothing.

use std::thread;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call's head without anything proven: HPACK with nothing but literals and the static table.
fn head() -> Vec<u8> {
    let path = b"/strongroom.v1.CredentialService/DecryptCredential";
    [&[0x83, 0x86, 0x04, path.len() as u8], &path[..], &[0x01, 1, b's']].concat()
}

/// What was read until the daemon closed, while it was told `frames` without end or until they end. None when it did not close.
fn flood(daemon: &Daemon, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut stream = connect(grpc(daemon));
    let mut reader = stream.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut rest = [0; 16 * 1024];
        // A reset is an end, too.
        while reader.read(&mut rest).is_ok_and(|count| count > 0) {}
    });
    let opened = stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).is_ok();
    let mut batch = Vec::new();
    let mut refused = !opened;
    for frame in frames {
        batch.extend(frame);
        if batch.len() > 32 * 1024 {
            refused |= stream.write_all(&batch).is_err();
            batch.clear();
        }
        if refused {
            break;
        }
    }
    refused |= stream.write_all(&batch).is_err();
    let _ = stream.shutdown(std::net::Shutdown::Both);
    reading.join().unwrap();
    refused
}

/// While somebody works, each flood in turn: whether its connection must end before the flood does.
#[test]
fn http2_floods_end_their_own_connection_alone() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let key = prepare(&daemon);
    let working = Working::start(&daemon, &key);
    working.goes_on(5);
    let before = resident(&daemon);
    let odd = |number: u32| number * 2 + 1;

    let rapid_reset = (0..200_000).flat_map(move |number| {
        let stream = odd(number);
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head()), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
    });
    flood(&daemon, rapid_reset);
    working.goes_on(3);

    let continuations = std::iter::once(frame(HEADERS, 0, 1, &head()))
        .chain((0..200_000).map(|_| frame(CONTINUATION, 0, 1, &[0x00, 1, b'a', 1, b'b'])));
    assert!(flood(&daemon, continuations), "headers without an end are read without an end");
    working.goes_on(3);

    let nothing_continued =
        std::iter::once(frame(HEADERS, 0, 1, &head())).chain((0..200_000).map(|_| frame(CONTINUATION, 0, 1, &[])));
    assert!(flood(&daemon, nothing_continued), "empty continuations");
    working.goes_on(3);

    // 60 bytes that each reference expands to 4,000: the first puts a long header into the table.
    let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4_000]].concat();
    let bomb = (0..2_000).map(move |number| {
        let entries = if number == 0 { long.clone() } else { vec![0xbe; 4_000] };
        frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &[head(), entries].concat())
    });
    flood(&daemon, bomb);
    working.goes_on(3);

    let settings = (0..300_000).map(|number: u32| {
        let size = 4_096 + number % 2;
        frame(SETTINGS, 0, 0, &[&[0, 1], &size.to_be_bytes()[..]].concat())
    });
    flood(&daemon, settings);
    working.goes_on(3);

    flood(&daemon, (0..300_000_u64).map(|number| frame(PING, 0, 0, &number.to_be_bytes())));
    working.goes_on(3);

    let empty_data =
        std::iter::once(frame(HEADERS, END_HEADERS, 1, &head())).chain((0..300_000).map(|_| frame(DATA, 0, 1, &[])));
    flood(&daemon, empty_data);
    working.goes_on(3);

    let updates = (0..300_000).map(|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
    flood(&daemon, updates);
    working.goes_on(3);

    // Opened and never ended, of which only so many may be.
    let open = (0..100_000).map(move |number| frame(HEADERS, END_HEADERS, odd(number), &head()));
    flood(&daemon, open);
    working.goes_on(3);

    working.stop();
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes more than before");
    assert!(daemon.stop().success());
}

/// Who does not read what is answered does not make the daemon keep it.
#[test]
fn who_floods_and_does_not_read_costs_no_memory() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let key = prepare(&daemon);
    let working = Working::start(&daemon, &key);
    working.goes_on(5);
    let before = resident(&daemon);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(grpc(&daemon));
        stream.set_nonblocking(true).unwrap();
        let pings = frame(PING, 0, 0, &[7; 8]).repeat(200_000);
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &pings].concat();
        // As much as the daemon takes without being read.
        let mut rest = &bytes[..];
        let end = Instant::now() + Duration::from_secs(1);
        while !rest.is_empty() && Instant::now() < end {
            match stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        streams.push(stream);
    }
    working.goes_on(5);
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more than before");
    working.stop();
    drop(streams);
    assert!(daemon.stop().success());
}

/// Bytes of a generator that needs no crate and repeats for whoever has the seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// Whatever is said to a listener, as it is or behind something that makes sense, it goes on.
#[test]
fn noise_stops_no_listener() {
    let home = tempfile::tempdir().unwrap();
    let config = "unix = \"socket\"\n[limits]\nhandshake = \"500ms\"\n";
    let daemon = Daemon::start_with(home.path(), config);
    let key = prepare(&daemon);
    let openings: [&[u8]; 8] = [
        b"",
        PREFACE,
        b"GET / HTTP/1.1\r\n",
        b"POST /integrations/acme/openai/decrypt HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: s\r\ncontent-length: 999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"GET /metrics HTTP/1.1\r\nhost: s\r\n\r\n",
    ];
    let socket = home.path().join("socket");
    for seed in 1..=40_u64 {
        let opening = openings[seed as usize % openings.len()];
        let bytes = [opening, &noise(seed * 7_919, 20_000)].concat();
        for address in [grpc(&daemon), daemon.rest.as_str(), daemon.ops.as_str()] {
            let mut stream = connect(address);
            // It may close before it has all.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let working = Working::start(&daemon, &key);
    working.goes_on(3);
    working.stop();
    assert!(!daemon.log().contains("panicked"));
    assert!(daemon.stop().success());
}
