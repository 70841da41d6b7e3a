//! What a platform has at its fixed addresses, faked on this machine in plain HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use strongroom::http::Network;
use strongroom::http::platform::Platform;
use tokio::net::TcpStream;

use super::{Answer, Asked, serve};

pub struct Fixed {
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    address: SocketAddr,
    _running: serve::Running,
}

impl Fixed {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let heard = move |request: Asked| {
            record.lock().unwrap().push(request.clone());
            answer(&request)
        };
        let (address, running) = serve::start(None, heard);
        Self { dialled: Arc::default(), asked, address, _running: running }
    }

    /// Every address leads here.
    pub fn platform(&self) -> Platform {
        Platform::over(Arc::new(Everywhere { there: Some(self.address), dialled: Arc::clone(&self.dialled) }))
    }

    pub fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(SocketAddr::to_string).collect()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A machine of no platform: nobody is at any of the addresses.
pub fn none() -> Platform {
    Platform::over(Arc::new(Everywhere { there: None, dialled: Arc::default() }))
}

struct Everywhere {
    there: Option<SocketAddr>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

#[async_trait]
impl Network for Everywhere {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        panic!("a platform's address is never resolved");
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().unwrap().push(address);
        TcpStream::connect(self.there.ok_or(io::ErrorKind::ConnectionRefused)?).await
    }
}
