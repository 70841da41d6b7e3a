//! What may come back, and what goes out.

use super::*;

async fn answered(answer: Answer) -> Result<Response, Error> {
    let world = World::start(move |_| answer.clone());
    ask(&client_of(world.address, &world.authority)).await
}

fn raw(text: &str) -> Answer {
    Answer::Raw(text.as_bytes().to_vec())
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant_and_its_answer_comes_back() {
    let world = World::start(|_| Answer::text(200, "good").header("x-seen", "yes"));
    let response = ask(&world.client()).await.expect("an answer");
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, b"good".as_slice()));
    assert_eq!(response.headers["x-seen"], "yes");
    let asked = world.asked_once();
    assert_eq!((asked.method.as_str(), asked.host.as_str(), asked.path.as_str()), ("GET", HOST, "/v1?a=s3cret"));
    let mut headers: Vec<_> = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.sort_unstable();
    let agent = concat!("strongroom/", env!("CARGO_PKG_VERSION"));
    assert_eq!(headers, [("connection", "close"), ("host", HOST), ("user-agent", agent), ("x-key", SECRET)]);
}

#[tokio::test]
async fn a_body_arrives_whole_and_counted() {
    let world = World::start(|_| Answer::status(200));
    for (method, body) in [(Method::POST, vec![7; 100_000]), (Method::POST, vec![]), (Method::PUT, b"x".to_vec())] {
        world.forget();
        let request = Request { method, body: Zeroizing::new(body.clone()), ..get(&format!("https://{HOST}")) };
        world.client().send(request, &hosts()).await.expect("an answer");
        let asked = world.asked_once();
        assert_eq!((asked.path.as_str(), asked.header("content-length")), ("/", body.len().to_string().as_str()));
        assert!(asked.body == body);
    }
}

#[tokio::test]
async fn what_the_connection_decides_cannot_be_set() {
    let world = World::start(|_| Answer::status(200));
    for name in ["accept-encoding", "connection", "expect", "te", "trailer", "transfer-encoding", "upgrade"] {
        let mut request = get(&format!("https://{HOST}/"));
        request.headers.insert(name, SECRET.parse().expect("a value"));
        let error = world.client().send(request, &hosts()).await.expect_err(name);
        assert_eq!(error, Error::Forbidden { why: format!("the header {name} is the connection's own") });
    }
    let mut request = get(&format!("https://{HOST}/"));
    request.headers.insert("host", "evil.example".parse().expect("a value"));
    world.client().send(request, &hosts()).await.expect("an answer");
    assert_eq!(world.asked_once().host, HOST, "and the host is the URL's");
}

#[tokio::test]
async fn every_status_is_an_answer_and_no_redirect_is_followed() {
    let world = World::start(|asked| match asked.path.as_str() {
        "/v1?a=s3cret" => Answer::status(302).header("location", "https://169.254.169.254/latest/meta-data/"),
        path => panic!("{path} was asked for"),
    });
    let response = ask(&world.client()).await.expect("an answer");
    assert_eq!(response.status.as_u16(), 302);
    assert_eq!(world.asked().len(), 1);
    for status in [204, 301, 303, 307, 308, 401, 403, 429, 500, 503] {
        let response = answered(Answer::status(status).header("location", "/elsewhere")).await;
        assert_eq!(response.expect("an answer").status.as_u16(), status);
    }
}

#[tokio::test]
async fn cookies_are_not_kept() {
    let world = World::start(|_| Answer::status(200).header("set-cookie", "a=b; Path=/"));
    let client = world.client();
    for _ in 0..2 {
        ask(&client).await.expect("an answer");
    }
    let asked = world.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.header("cookie").is_empty()));
}

#[tokio::test]
async fn a_body_up_to_the_cap_is_taken_and_not_a_byte_more() {
    let cap = Limits::default().body;
    let body = |length| Answer::Reply { status: 200, headers: vec![], body: vec![b'.'; length] };
    let unannounced = |length| raw(&format!("HTTP/1.1 200 OK\r\n\r\n{}", ".".repeat(length)));
    let chunked = |length| {
        raw(&format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
            ".".repeat(length)
        ))
    };
    for answer in [body(cap), unannounced(cap), chunked(cap)] {
        assert_eq!(answered(answer).await.expect("an answer").body.len(), cap);
    }
    let too_long = Error::TooLong { host: host(), limit: cap };
    let lie = raw("HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\nshort");
    for answer in [body(cap + 1), unannounced(cap + 1), chunked(cap + 1), Answer::Endless, lie] {
        assert_eq!(answered(answer).await.expect_err("too long"), too_long);
    }
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_no_answer() {
    let broken = Error::Broken { host: host() };
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nx",
    ] {
        assert_eq!(answered(raw(text)).await.expect_err(text), broken, "{text}");
    }
}

#[tokio::test]
async fn what_is_behind_an_answer_is_not_read() {
    let response = answered(raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\n\r\n")).await;
    assert_eq!(response.expect("an answer").body.as_slice(), b"first");
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    let broken = Error::Broken { host: host() };
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1_000_000));
    for text in ["", "nonsense\r\n\r\n", "HTTP/1.1 200", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 0 OK\r\n\r\n", &many, &long]
    {
        assert_eq!(answered(raw(text)).await.expect_err(text), broken, "{text:.40}");
    }
    assert_eq!(answered(Answer::Cut).await.expect_err("cut"), broken);
}

#[tokio::test]
async fn who_is_slow_is_left() {
    let timeout = Error::Timeout { host: host() };
    let late = Answer::Late(Duration::from_secs(10), Box::new(Answer::status(200)));
    for answer in [Answer::Hang, late, Answer::SlowBody(Duration::from_millis(50))] {
        let said = answer.clone();
        let world = World::start(move |_| said.clone());
        let start = Instant::now();
        let answered = ask(&client_within(hurried(), world.address, &world.authority)).await;
        let took = start.elapsed();
        assert_eq!(answered.expect_err("slow"), timeout, "{answer:?}");
        assert!(took >= hurried().total && took < Duration::from_secs(6), "{answer:?}: {took:?}");
    }
}

#[tokio::test]
async fn slow_headers_and_endless_interim_answers_win_no_time() {
    for drop in ["a: b\r\n", "\r\nHTTP/1.1 103 Early Hints\r\n"] {
        let authority = Authority::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(authority.server());
        let address = peer(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.expect("TLS");
                stream.write_all(b"HTTP/1.1 103 Early Hints\r\n").await.expect("takes it");
                while stream.write_all(drop.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        })
        .await;
        let answered = ask(&client_within(hurried(), address, &authority)).await;
        assert_eq!(answered.expect_err("slow"), Error::Timeout { host: host() }, "{drop:?}");
    }
}

/// What the connection's buffers held is wiped when they are freed: so they are freed with the answer, though the peer
/// would keep it open.
#[tokio::test]
async fn the_connection_ends_with_its_answer_or_with_its_caller() {
    let (long, short) = (Duration::from_secs(10), Duration::from_secs(1));
    for (answer, patience) in [("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", long), ("", short)] {
        let authority = Authority::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(authority.server());
        let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
        let address = peer(move |stream| {
            let (acceptor, ended) = (acceptor.clone(), ended.clone());
            async move {
                let mut stream = acceptor.accept(stream).await.expect("TLS");
                let mut said = Vec::new();
                while !said.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut said).await.expect("a request");
                }
                stream.write_all(answer.as_bytes()).await.expect("takes it");
                stream.flush().await.expect("flushes");
                // An end without TLS's farewell is an error here, and an end.
                let _ = stream.read_u8().await;
                ended.send(()).expect("waited for");
            }
        })
        .await;
        let client = client_of(address, &authority);
        let call = tokio::time::timeout(patience, ask(&client)).await;
        assert_eq!(call.is_err(), patience == short);
        let end = tokio::time::timeout(Duration::from_secs(5), end.recv()).await;
        assert_eq!(end, Ok(Some(())), "the connection is still open");
        // The answer is still held.
        drop(call);
    }
}
