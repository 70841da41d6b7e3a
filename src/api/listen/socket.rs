//! What is listened on, and who comes in.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::tls::Tls;
use crate::authn::Peer;

/// The daemon's own user and group, whoever else has an account here.
const SOCKET_MODE: u32 = 0o660;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why a door does not open. Names the configuration's key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{key}: {address} is taken: another process listens there")]
    Taken { key: &'static str, address: Address },
    #[error("{key}: {} is there and is no socket; it was left alone", path.display())]
    NotASocket { key: &'static str, path: PathBuf },
    #[error("{key}: cannot listen on {address}: {cause}")]
    Bind { key: &'static str, address: Address, cause: io::Error },
    #[error("{key}: {}: {why}", file.display())]
    Tls { key: &'static str, file: PathBuf, why: String },
}

pub struct Listener {
    key: &'static str,
    socket: Socket,
    tls: Option<Arc<Tls>>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// An accepted connection; a TLS handshake is still to be made.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(TlsAcceptor, TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Opens a door. `key` is the configuration's name of it, for errors, logs and metrics.
    pub async fn bind(key: &'static str, address: Address, tls: Option<Arc<Tls>>) -> Result<Self, Error> {
        let socket = match &address {
            Address::Tcp(to) => TcpListener::bind(to).await.map(Socket::Tcp).map_err(|cause| match cause.kind() {
                io::ErrorKind::AddrInUse => Error::Taken { key, address: address.clone() },
                _ => Error::Bind { key, address: address.clone(), cause },
            })?,
            Address::Unix(path) => bind_unix(key, path).await?,
        };
        Ok(Self { key, socket, tls })
    }

    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Where it listens: with the port that was given when any was asked for.
    pub fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Socket::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Replies are small and whole: waiting to fill a segment only delays them.
                stream.set_nodelay(true)?;
                let peer = Peer::Tcp { address, certificate: None };
                let stream = match &self.tls {
                    Some(tls) => Stream::Tls(tls.acceptor(), stream),
                    None => Stream::Tcp(stream),
                };
                Ok((stream, peer))
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let who = stream.peer_cred()?;
                Ok((Stream::Unix(stream), Peer::Unix { uid: who.uid(), gid: who.gid(), pid: who.pid() }))
            }
        }
    }
}

/// Binds under a name of its own, sets the mode, and renames into place: the path never leads to a socket that anyone
/// may use, and a file that a killed daemon left behind is replaced in one step.
async fn bind_unix(key: &'static str, path: &Path) -> Result<Socket, Error> {
    let address = || Address::Unix(path.into());
    let refused = |cause| Error::Bind { key, address: address(), cause };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Error::NotASocket { key, path: path.into() }),
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(Error::Taken { key, address: address() }),
        _ => {}
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let made = UnixListener::bind(&fresh).and_then(|listener| {
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        std::fs::rename(&fresh, path)?;
        Ok(Socket::Unix(listener, SocketFile::at(path)?))
    });
    made.map_err(|cause| {
        // Nothing is there when binding itself was refused.
        let _ = std::fs::remove_file(&fresh);
        refused(cause)
    })
}

/// Removes the socket's file when the door closes, unless the path has become another daemon's meanwhile.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), id: file_id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
