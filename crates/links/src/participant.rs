//! Carries messages and datagrams between a person of the simulation and the network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use plenum_client::{Client, Incoming, Reception, Settings, Side, decode, encode};
use plenum_media::bwe::Bitrate;
use plenum_sim::Person;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::network::SERVER;
use crate::server::Server;

/// Whoever is not in the room after this long does not come.
const JOIN_WITHIN: Duration = Duration::from_secs(15);
/// Longest datagram.
const DATAGRAM_MAX: usize = 2_048;
/// Datagrams that are read before anything else has its turn.
const BATCH: usize = 64;

/// What somebody is told during a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Their camera is made to fit into this.
    Fit(Bitrate),
    /// The call is over.
    End,
}

/// Somebody with sockets.
pub(crate) struct Participant {
    person: Person,
    sockets: [UdpSocket; 2],
    signal: WebSocketStream<TcpStream>,
}

impl Participant {
    /// Comes into the room from an address of this namespace. `prepare` says what is published.
    pub(crate) async fn enter(
        address: Ipv4Addr,
        name: &str,
        reception: Reception,
        prepare: impl FnOnce(&mut Person),
    ) -> Result<Self> {
        let sockets = [open(address).await?, open(address).await?];
        let [publisher, subscriber] = [sockets[0].local_addr()?, sockets[1].local_addr()?];
        let addresses = [publisher, subscriber];
        let settings = Settings { reception, robust_sound: true, ..Settings::new(addresses) };
        let client = Client::new(Instant::now(), settings, &mut rand::rng());
        let query = client.join_query();
        let mut person = Person::new(name, client, addresses);
        prepare(&mut person);
        let signal = timeout(JOIN_WITHIN, connect(address, &query, &Server::token(name))).await;
        let signal = signal.context("the server does not answer")?.context("the signal connection")?;
        Ok(Self { person, sockets, signal })
    }

    /// Takes part until the call is over, and gives what was seen and heard.
    pub(crate) async fn live(mut self, mut orders: mpsc::Receiver<Order>) -> Result<Person> {
        loop {
            self.flush().await?;
            let deadline = self.person.next_timeout().context("somebody has a next thing to do")?;
            tokio::select! {
                message = self.signal.next() => self.hear(message.context("the server closed the signal connection")??)?,
                ready = self.sockets[0].readable() => ready.map(|()| self.receive(Side::Publisher))??,
                ready = self.sockets[1].readable() => ready.map(|()| self.receive(Side::Subscriber))??,
                () = sleep_until(deadline.into()) => {}
                order = orders.recv() => match order {
                    Some(Order::Fit(rate)) => self.person.set_carried(rate),
                    Some(Order::End) | None => return Ok(self.person),
                },
            }
            let now = Instant::now();
            if self.person.next_timeout().is_some_and(|at| at <= now) {
                self.person.handle_timeout(now)?;
            }
            self.person.note(now);
        }
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Binary(frame) => {
                if let Some(message) = decode(&frame) {
                    self.person.hear(Instant::now(), message)?;
                }
            }
            Message::Close(reason) => bail!("the server closed the signal connection: {reason:?}"),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    fn receive(&mut self, side: Side) -> Result<()> {
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..BATCH {
            // What is wrong with an earlier datagram says nothing about the next.
            let Ok((len, remote)) = self.sockets[side as usize].try_recv_from(&mut buffer) else { break };
            let now = Instant::now();
            let incoming = Incoming { remote, received: now, bytes: &buffer[..len] };
            self.person.client.handle_datagram(now, side, &incoming)?;
            self.person.note(now);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        while let Some(datagram) = self.person.client.poll_datagram() {
            // A full queue of the kernel is a loss like any other.
            let _ = self.sockets[datagram.side as usize].try_send_to(&datagram.bytes, datagram.remote);
        }
        while let Some(request) = self.person.client.poll_signal() {
            self.signal.send(Message::Binary(encode(request).into())).await?;
        }
        Ok(())
    }
}

async fn open(address: Ipv4Addr) -> Result<UdpSocket> {
    UdpSocket::bind((address, 0)).await.context("a UDP socket")
}

async fn connect(address: Ipv4Addr, query: &str, token: &str) -> Result<WebSocketStream<TcpStream>> {
    let url = format!("{}{query}", Server::url());
    let mut request = url.as_str().into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let port = request.uri().port_u16().context("the server's address has a port")?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
    let stream = socket.connect((SERVER, port).into()).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(request, stream).await?.0)
}
