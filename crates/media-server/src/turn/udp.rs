//! Clients that come over UDP: one socket for all of them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plenum_media::turn::{MESSAGE_LEN_MAX, Reaction, Session, Transport};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Shared;
use super::client::{Client, INBOX, Way, refusal, unix_s};
use crate::socket::canonical;

/// Datagrams between two looks at what else there is to do.
const BATCH: usize = 64;

/// Serves until the task is aborted.
pub(super) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut listener =
        Listener { socket: Arc::new(socket), shared, clients: HashMap::new(), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            ready = listener.socket.readable() => match ready {
                Ok(()) => listener.receive(),
                Err(error) => {
                    tracing::debug!(%error, "Waiting for the TURN port failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = listener.tasks.join_next() => {
                if let Ok(remote) = ended {
                    listener.forget(remote);
                }
            }
        }
    }
}

struct Listener {
    socket: Arc<UdpSocket>,
    shared: Arc<Shared>,
    /// Those who have relayed addresses, which are bounded.
    clients: HashMap<SocketAddr, mpsc::Sender<Box<[u8]>>>,
    tasks: JoinSet<SocketAddr>,
}

impl Listener {
    fn receive(&mut self) {
        let mut buffer = [0; MESSAGE_LEN_MAX];
        for _ in 0..BATCH {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((len, from)) => self.take(from, &buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP message about an earlier datagram; says nothing about the next.
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, from: SocketAddr, message: &[u8]) {
        if let Some(client) = self.clients.get(&from).filter(|client| !client.is_closed()) {
            if client.try_send(message.into()).is_err() {
                self.shared.to_peer.dropped.increment(1);
            }
            return;
        }
        // Of a stranger nothing is kept but a request for a relayed address that is granted.
        let mut session = Session::new(self.shared.relay.clone(), canonical(from), Transport::Datagram);
        match session.handle_client(Instant::now(), unix_s(), message) {
            Reaction::Reply { bytes, refused } => {
                refusal(refused);
                let _ = self.socket.try_send_to(&bytes, from);
            }
            Reaction::Allocate(request) => {
                let way = Way::Datagram(self.socket.clone(), from);
                let mut client = Client::new(session, self.shared.clone(), way);
                if !client.allocate(&request) {
                    return;
                }
                let (messages, inbox) = mpsc::channel(INBOX);
                self.clients.insert(from, messages);
                self.tasks.spawn(async move {
                    client.run(inbox).await;
                    from
                });
            }
            Reaction::Nothing | Reaction::Forward { .. } => {}
        }
    }

    /// Forgets a client whose task has ended, unless another has come from the same address.
    fn forget(&mut self, remote: SocketAddr) {
        if self.clients.get(&remote).is_some_and(mpsc::Sender::is_closed) {
            self.clients.remove(&remote);
        }
    }
}
