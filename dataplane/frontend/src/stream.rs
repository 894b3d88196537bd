//! A device's bytes, whatever they come over.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
use tokio::net::TcpStream;

/// A connection to a device: bytes both ways, and waiting for them without a buffer.
///
/// A poll that is given up must not lose bytes. After [`readable`](Self::readable) a read may still
/// find nothing.
pub trait DeviceStream:
    AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// Returns once there are bytes to read, or the other side is gone. Cancel safe.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Returns once one of the things that are asked for can be done. Cancel safe.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send;
}

impl DeviceStream for TcpStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        Self::readable(self)
    }

    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
        Self::ready(self, interest)
    }
}
