//! Names and sockets: the system's, or a test's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use tokio::net::TcpStream;

#[async_trait]
pub trait Network: Send + Sync {
    /// Every address of a name. Asked once for each request, so that what was checked is what is called.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// As the system resolves: its hosts file, its name servers, its search domains.
pub struct System;

#[async_trait]
impl Network for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// Whether the name servers have answered that there is no such host, or nothing at it. The standard library keeps of
/// getaddrinfo's code only the text, which is the C library's; the program sets no locale, so it is the English one. A
/// text that is not known counts as a failure of the moment, as do no network and no name server.
pub(super) fn no_such_host(cause: &io::Error) -> bool {
    const DEFINITE: &[&str] = &[
        "Name or service not known",                    // glibc
        "No address associated with hostname",          // glibc: a name with other records
        "Name does not resolve",                        // musl
        "Name has no usable address",                   // musl
        "nodename nor servname provided, or not known", // macOS, BSD
    ];
    let text = cause.to_string();
    DEFINITE.iter().any(|definite| text.ends_with(definite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_there_is_none_counts_as_none() {
        let said =
            |text: &str| no_such_host(&io::Error::other(format!("failed to lookup address information: {text}")));
        for none in ["Name or service not known", "No address associated with hostname", "Name does not resolve"] {
            assert!(said(none), "{none}");
        }
        for trouble in
            ["Temporary failure in name resolution", "Non-recoverable failure in name resolution", "Try again", ""]
        {
            assert!(!said(trouble), "{trouble}");
        }
        assert!(!no_such_host(&io::Error::from_raw_os_error(11)));
    }

    /// The system answers without asking anybody: such a label is too long for DNS.
    #[tokio::test]
    async fn the_systems_own_words_are_known() {
        let cause = System.resolve(&format!("{}.invalid", "a".repeat(64))).await.expect_err("no such name");
        assert!(no_such_host(&cause), "{cause}");
    }
}
