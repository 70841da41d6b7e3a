//! Who has not proven to be a caller makes room for others, and does not stay.

use super::*;

const STRANGER: &str = "/stranger";

#[tokio::test]
async fn the_stranger_who_waited_longest_makes_room() {
    let served = serve(Settings { max_connections: 3, handshake: LONG, ..settings() }).await;
    let mut caller = served.connect().await;
    http1(&mut caller, "/plain").await;
    let mut silent = served.connect().await;
    let mut talks = served.connect().await;
    http1(&mut talks, STRANGER).await;
    for _ in 0..10 {
        http1(&mut served.connect().await, "/plain").await;
    }
    within(closes_after(&mut silent).await, 0, 1_500);
    for _ in 0..10 {
        served.connect().await.write_all(b"P").await.expect("takes it");
    }
    let newcomers = [served.connect().await, served.connect().await];
    within(closes_after(&mut talks).await, 0, 1_500);
    http1(&mut caller, "/plain").await;
    drop((newcomers, caller));
    served.stopped().await;
}

#[tokio::test]
async fn one_network_has_so_many_strangers_and_no_more() {
    let served = serve(Settings { max_strangers_per_source: 2, handshake: LONG, ..settings() }).await;
    let (mut first, mut second) = (served.connect().await, served.connect().await);
    http1(&mut second, STRANGER).await;
    let mut third = served.connect().await;
    http1(&mut third, STRANGER).await;
    within(closes_after(&mut first).await, 0, 1_500);
    // It is a caller now, and counts as a stranger no more.
    http1(&mut second, "/plain").await;
    let mut fourth = served.connect().await;
    http1(&mut fourth, STRANGER).await;
    http1(&mut third, STRANGER).await;
    http1(&mut second, "/plain").await;
    drop((second, third, fourth));
    served.stopped().await;
}

#[tokio::test]
async fn a_stranger_does_not_stay_however_much_it_says() {
    let served = serve(Settings { deadline: LONG, ..settings() }).await;
    let (mut stranger, mut caller) = (served.connect().await, served.connect().await);
    let (mut client, connection) = http2(served.connect().await).await;
    let start = Instant::now();
    http1(&mut caller, "/plain").await;
    let ends = tokio::spawn(async move {
        while timeout(LONG, async {
            stranger.write_all(b"GET /stranger HTTP/1.1\r\nhost: s\r\n\r\n").await?;
            stranger.read_u8().await
        })
        .await
        .expect("in time")
        .is_ok()
        {
            sleep(Duration::from_millis(50)).await;
        }
        start.elapsed()
    });
    while !connection.is_finished() && start.elapsed() < LONG {
        if client.ready().await.is_ok() {
            drop(client.send_request(get_of(STRANGER)).await);
        }
        http1(&mut caller, "/plain").await;
        sleep(Duration::from_millis(50)).await;
    }
    within(start.elapsed(), 800, 5_000);
    within(ends.await.expect("ends"), 800, 5_000);
    http1(&mut caller, "/plain").await;
    drop((caller, client));
    served.stopped().await;
}

#[tokio::test]
async fn idle_callers_make_room_and_busy_ones_do_not() {
    let served = serve(Settings { max_connections: 2, handshake: Duration::from_millis(300), ..settings() }).await;
    let (mut idle, idle_connection) = http2(served.connect().await).await;
    let (mut busy, busy_connection) = http2(served.connect().await).await;
    text(&mut idle, "/plain").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_200) {
        text(&mut busy, "/plain").await;
        sleep(Duration::from_millis(50)).await;
    }
    http1(&mut served.connect().await, "/plain").await;
    timeout(LONG, idle_connection).await.expect("closed").expect("no panic");
    assert!(!busy_connection.is_finished());
    text(&mut busy, "/plain").await;
    drop((idle, busy));
    served.stopped().await;
}
