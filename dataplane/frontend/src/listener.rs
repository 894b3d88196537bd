//! The door: accepts device connections and starts their tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::Connection;
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// Connections that the kernel holds before they are accepted.
const BACKLOG: i32 = 4_096;
/// Pause after the system refused to accept: out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until shutdown.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => take(&shared, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn take(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Small packets must not wait for others to fill a segment. A socket that is gone already says
    // so at its first read.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    serve(shared, stream, peer);
}

/// Starts a connection's task.
pub(crate) fn serve(shared: &Arc<Shared>, stream: impl DeviceStream, peer: SocketAddr) {
    let connection = Connection::new(Arc::clone(shared), stream, peer);
    shared.tasks.spawn(connection.run());
}
