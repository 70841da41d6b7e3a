//! The first bytes of a connection, read and put back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes are known to be HTTP/2's preface, or not to be.
pub(super) struct Prefixed<I> {
    prefix: [u8; HTTP2.len()],
    /// What of the prefix was read from the stream, and what of that was handed on.
    filled: usize,
    taken: usize,
    stream: I,
}

impl<I: AsyncRead + Unpin> Prefixed<I> {
    pub async fn read(mut stream: I) -> io::Result<Self> {
        let mut prefix = [0; HTTP2.len()];
        let mut filled = 0;
        while filled < prefix.len() && prefix[..filled] == HTTP2[..filled] {
            match stream.read(&mut prefix[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(Self { prefix, filled, taken: 0, stream })
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken < this.filled {
            let left = &this.prefix[this.taken..this.filled];
            let count = left.len().min(into.remaining());
            into.put_slice(&left[..count]);
            this.taken += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn through(bytes: &'static [u8]) -> Vec<u8> {
        let mut stream = Prefixed::read(bytes).await.expect("reads");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("reads on");
        read
    }

    #[tokio::test]
    async fn nothing_is_lost() {
        for bytes in
            [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/1.1\r\n"]
        {
            assert_eq!(through(bytes).await, bytes);
        }
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        assert_eq!(through(http2).await, http2);
    }

    #[tokio::test]
    async fn an_end_before_the_answer_is_an_error() {
        for bytes in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let error = Prefixed::read(bytes).await.err().expect("too short");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
