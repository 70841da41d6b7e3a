//! Where a host's name may lead.

use strongroom::http::System;

use super::*;

fn over(script: &Arc<Script>, settings: Settings) -> Client {
    Client::over(settings, Arc::clone(script) as Arc<dyn Network>).expect("good")
}

#[tokio::test]
async fn what_is_forbidden_is_not_even_looked_up() {
    let script = Arc::new(Script::default());
    let client = over(&script, Settings::default());
    for url in [
        "http://api.example.com/",
        "https://evil.example/",
        "https://api.example.com.evil.example/",
        "https://user@api.example.com/",
        "https://api.example.com:8443/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/latest/meta-data/",
    ] {
        let error = client.send(get(url), &hosts()).await.expect_err(url);
        assert!(matches!(error, Error::Forbidden { .. }), "{url}: {error:?}");
    }
    assert_eq!(script.looked_up(), [""; 0]);
    assert_eq!(script.dialled(), [""; 0]);
}

#[tokio::test]
async fn a_name_with_none_but_inner_addresses_is_not_called() {
    for inner in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "0.0.0.0",
        "::",
    ] {
        let script = Arc::new(Script::finding(&[&[inner, "192.168.0.1"]]));
        let error = ask(&over(&script, Settings::default())).await.expect_err(inner);
        let why = format!("{HOST} has no public address, and only outbound.private_hosts may be elsewhere");
        assert_eq!(error, Error::Forbidden { why }, "{inner}");
        assert_eq!(script.dialled(), [""; 0], "{inner}");
    }
}

#[tokio::test]
async fn of_mixed_addresses_only_the_public_ones_are_tried_in_turn() {
    let world = World::start(|_| Answer::status(200));
    let found = ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111", "127.0.0.1", "1.1.1.1"];
    let script = Arc::new(Script::finding(&[&found]).with_somebody("[2606:4700::1111]:443", world.address));
    ask(&over(&script, world.settings(&[]))).await.expect("an answer");
    assert_eq!(script.dialled(), ["8.8.8.8:443", "[2606:4700::1111]:443"]);
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_was_checked_is_what_is_called() {
    let world = World::start(|_| Answer::status(200));
    // The second answer would be a rebinding.
    let script = Arc::new(Script::finding(&[&["8.8.8.8"], &["127.0.0.1"]]).with_somebody("8.8.8.8:443", world.address));
    let client = over(&script, world.settings(&[]));
    ask(&client).await.expect("an answer");
    assert_eq!((script.looked_up(), script.dialled()), (vec![host()], vec!["8.8.8.8:443".to_owned()]));
    assert!(matches!(ask(&client).await, Err(Error::Forbidden { .. })), "each request is checked anew");
    assert_eq!(script.dialled().len(), 1);
}

#[tokio::test]
async fn nobody_there_no_such_name_and_no_answer_are_told_apart() {
    let script = Arc::new(Script::finding(&[&["8.8.8.8", "1.1.1.1"]]));
    assert_eq!(ask(&over(&script, Settings::default())).await.expect_err("nobody"), Error::Connect { host: host() });
    assert_eq!(script.dialled().len(), 2);

    let fails = |text: &str| {
        let script = Script::default();
        script.finds.lock().expect("whole").push_back(Err(io::Error::other(text.to_owned())));
        Arc::new(script)
    };
    let none = fails("failed to lookup address information: Name or service not known");
    assert_eq!(ask(&over(&none, Settings::default())).await.expect_err("none"), Error::NoSuchHost { host: host() });
    let trouble = fails("failed to lookup address information: Temporary failure in name resolution");
    assert_eq!(ask(&over(&trouble, Settings::default())).await.expect_err("trouble"), Error::Dns { host: host() });
    let empty = Arc::new(Script::finding(&[&[]]));
    assert_eq!(ask(&over(&empty, Settings::default())).await.expect_err("empty"), Error::NoSuchHost { host: host() });
}

/// The first address swallows every packet; the second answers.
#[tokio::test]
async fn an_address_that_says_nothing_does_not_take_all_the_time() {
    struct Swallows(SocketAddr);
    #[async_trait]
    impl Network for Swallows {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec!["2606:4700::1111".parse().expect("an address"), "1.1.1.1".parse().expect("an address")])
        }

        async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
            if address.is_ipv6() { std::future::pending().await } else { TcpStream::connect(self.0).await }
        }
    }
    let world = World::start(|_| Answer::status(200));
    let limits = Limits { connect: Duration::from_secs(4), total: Duration::from_secs(10), ..Limits::default() };
    let settings = Settings { limits, ..world.settings(&[]) };
    let client = Client::over(settings, Arc::new(Swallows(world.address))).expect("good");
    ask(&client).await.expect("an answer");
}

/// Resolves as the system does, and is at every address.
struct Real {
    script: Script,
    world: SocketAddr,
}

#[async_trait]
impl Network for Real {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        System.resolve(host).await
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let _ = self.script.dial(address).await;
        TcpStream::connect(self.world).await
    }
}

#[tokio::test]
async fn localhost_is_called_only_when_the_operator_says_so() {
    let world = World::start(|_| Answer::status(200));
    let localhost = Hosts::new(vec!["localhost".into()]).expect("a host");
    for (private_hosts, called) in [(vec![], false), (vec![host()], false), (vec!["localhost".into()], true)] {
        let network = Arc::new(Real { script: Script::default(), world: world.address });
        let settings = Settings { private_hosts, ..world.settings(&[]) };
        let client = Client::over(settings, Arc::clone(&network) as Arc<dyn Network>).expect("good");
        let answered = client.send(get("https://localhost/"), &localhost).await;
        assert_eq!(answered.is_ok(), called, "{answered:?}");
        assert_eq!(matches!(answered, Err(Error::Forbidden { .. })), !called, "{answered:?}");
        assert_eq!(network.script.dialled().is_empty(), !called);
    }
}

#[tokio::test]
async fn a_private_host_is_not_at_a_metadata_service() {
    for metadata in ["169.254.169.254", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "fe80::1"] {
        let script = Arc::new(Script::finding(&[&[metadata]]));
        let settings = Settings { private_hosts: vec![host()], ..Settings::default() };
        assert!(matches!(ask(&over(&script, settings)).await, Err(Error::Forbidden { .. })), "{metadata}");
        assert_eq!(script.dialled(), [""; 0], "{metadata}");
    }
}

#[tokio::test]
async fn a_private_host_must_be_one_of_the_requests_hosts_too() {
    let world = World::start(|_| Answer::status(200));
    let client = Client::new(world.settings(&[HOST, "other.example.com"])).expect("good");
    ask(&client).await.expect("an answer");
    let other = client.send(get("https://other.example.com/"), &hosts()).await;
    assert!(matches!(other, Err(Error::Forbidden { .. })), "{other:?}");
    assert_eq!(world.asked().len(), 1);
}
