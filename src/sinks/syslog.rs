//! Syslog: RFC 5424 over a Unix socket, UDP (RFC 5426) or TCP with octet counting (RFC 6587). UDP tells of no loss, and TCP
//! of none until the next try: where it matters, use another copy.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use crate::store::Chained;

/// Facility 13, log audit; severity 6, informational.
const PRIORITY: u8 = 13 * 8 + 6;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Udp(String),
    Tcp(String),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |place: &str| {
            place.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            Ok(Self::Unix(path.into()))
        } else if let Some(place) = text.strip_prefix("udp://").filter(|place| port(place)) {
            Ok(Self::Udp(place.to_owned()))
        } else if let Some(place) = text.strip_prefix("tcp://").filter(|place| port(place)) {
            Ok(Self::Tcp(place.to_owned()))
        } else {
            Err("must be unix:PATH, udp://HOST:PORT or tcp://HOST:PORT")
        }
    }
}

pub struct Syslog {
    address: Address,
    open: Option<Socket>,
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub const fn new(address: Address) -> Self {
        Self { address, open: None }
    }

    pub async fn send(&mut self, records: &[Chained]) -> Result<(), String> {
        let sent = tokio::time::timeout(PATIENCE, self.try_send(records)).await;
        let sent = sent.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)));
        sent.map_err(|error| {
            self.open = None;
            format!("{:?}: {error}", self.address)
        })
    }

    async fn try_send(&mut self, records: &[Chained]) -> std::io::Result<()> {
        let socket = match self.open.take() {
            Some(socket) => socket,
            None => open(&self.address).await?,
        };
        match self.open.insert(socket) {
            Socket::Unix(socket) => {
                for record in records {
                    socket.send(message(record).as_bytes()).await?;
                }
            }
            Socket::Udp(socket) => {
                for record in records {
                    socket.send(message(record).as_bytes()).await?;
                }
            }
            Socket::Tcp(stream) => {
                let framed = |record| {
                    let message = message(record);
                    format!("{} {message}", message.len())
                };
                let frames: String = records.iter().map(framed).collect();
                stream.write_all(frames.as_bytes()).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }
}

async fn open(address: &Address) -> std::io::Result<Socket> {
    Ok(match address {
        Address::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Socket::Unix(socket)
        }
        Address::Udp(place) => {
            let there = tokio::net::lookup_host(place).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
            let here = if there.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(here).await?;
            socket.connect(there).await?;
            Socket::Udp(socket)
        }
        Address::Tcp(place) => Socket::Tcp(TcpStream::connect(place).await?),
    })
}

/// No host name and no process id: whoever relays it knows where it came from, and the record says which instance.
fn message(record: &Chained) -> String {
    let Chained { at, canonical, .. } = record;
    format!("<{PRIORITY}>1 {at:.6} - strongroom - audit - {canonical}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:/dev/log".parse(), Ok(Address::Unix("/dev/log".into())));
        assert_eq!("udp://logs:514".parse(), Ok(Address::Udp("logs:514".into())));
        assert_eq!("tcp://[::1]:601".parse(), Ok(Address::Tcp("[::1]:601".into())));
        for wrong in ["", "unix:", "/dev/log", "udp://logs", "tcp://:514", "tcp://logs:99999", "tls://logs:6514"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_is_rfc_5424() {
        let record = Chained {
            position: 1,
            sequence: 1,
            at: "2026-01-31T12:00:00.123456789Z".parse().unwrap(),
            canonical: "{\"a\":1}".into(),
            hash: [0; 32],
        };
        assert_eq!(message(&record), "<110>1 2026-01-31T12:00:00.123456Z - strongroom - audit - {\"a\":1}");
    }
}
