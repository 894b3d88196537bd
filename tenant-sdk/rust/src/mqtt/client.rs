//! Connecting, and the handles of a connection.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    ConnAck, DecodeLimits, Decoder, Message, MqttString, Packet, ProtocolVersion, Qos, ReasonCode,
    SubscribeFilter, SubscriptionId, SubscriptionOptions, TopicName, UnsubscribeFilter, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::driver::Driver;
use super::error::{Closed, ConnectError, RequestError};
use super::machine::{Answer, Granted, Machine};
use super::options::ConnectOptions;

/// Requests that wait to be written. Who makes more waits.
const REQUESTS_MAX: usize = 64;
/// The largest remaining length there is, with its header.
const PACKET_BYTES_ANY: u32 = 268_435_460;

/// A connection that the server accepted.
#[derive(Debug)]
pub struct Connected {
    /// Publishes and subscribes. Cloning it is cheap.
    pub client: Client,
    /// What arrives.
    pub messages: Messages,
    /// The server's words at the start: whether a session was resumed, which client identifier it
    /// chose, what it allows.
    pub acknowledgement: ConnAck,
}

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message; its `qos` and `retain` are those of this delivery.
    pub message: Message,
    /// Whether the server may have sent it before.
    pub dup: bool,
    /// The identifiers of the subscriptions that it is for.
    pub subscription_ids: Vec<SubscriptionId>,
}

/// What arrives over one connection, in order.
#[derive(Debug)]
pub struct Messages {
    received: mpsc::Receiver<Received>,
    closed: Arc<OnceLock<Closed>>,
}

impl Messages {
    /// The next message; `None` once the connection has ended and all were taken.
    pub async fn next(&mut self) -> Option<Received> {
        self.received.recv().await
    }

    /// How the connection ended; `None` while it lasts.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.get()
    }
}

/// What is asked of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    Publish(Message, Reply),
    Subscribe(Vec<SubscribeFilter>, Reply),
    Unsubscribe(Vec<UnsubscribeFilter>, Reply),
}

pub(crate) type Reply = oneshot::Sender<Result<Answer, RequestError>>;

/// Asks things of the server over one connection. When the last one is dropped and nobody takes
/// messages any more, the connection ends in good order.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    farewells: mpsc::Sender<Reply>,
    closed: Arc<OnceLock<Closed>>,
}

impl Client {
    /// Publishes and waits for the acknowledgement that the message's `QoS` asks for; for `QoS` 0 only
    /// until it is on its way. The code says whether anybody subscribes.
    pub async fn publish(&self, message: Message) -> Result<ReasonCode, RequestError> {
        let answer = self.ask(|reply| Request::Publish(message, reply)).await?;
        let reason = answer.codes.first().copied().unwrap_or(ReasonCode::Success);
        checked(reason, answer.text)
    }

    /// As [`Self::publish`], from the parts that most messages have.
    pub async fn publish_to(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: Qos,
    ) -> Result<ReasonCode, RequestError> {
        let topic = TopicName::try_from(topic)
            .map_err(|error| RequestError::Invalid(format!("topic {topic:?}: {error}")))?;
        let mut message = Message::new(topic, payload);
        message.qos = qos;
        self.publish(message).await
    }

    /// Subscribes to one filter and returns the `QoS` that was granted.
    pub async fn subscribe(&self, filter: &str, qos: Qos) -> Result<Qos, RequestError> {
        let options = SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        };
        let filter = SubscribeFilter::new(text(filter)?, options);
        let answer = self
            .ask(|reply| Request::Subscribe(vec![filter], reply))
            .await?;
        let reason = answer
            .codes
            .first()
            .copied()
            .unwrap_or(ReasonCode::UnspecifiedError);
        let granted = checked(reason, answer.text)?.as_u8();
        Qos::try_from(granted).map_err(|_| RequestError::Invalid("no QoS was granted".to_owned()))
    }

    /// Subscribes to several filters with their options. Returns a code for each, a refusal included.
    pub async fn subscribe_all(
        &self,
        filters: Vec<SubscribeFilter>,
    ) -> Result<Vec<ReasonCode>, RequestError> {
        Ok(self
            .ask(|reply| Request::Subscribe(filters, reply))
            .await?
            .codes)
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, filter: &str) -> Result<(), RequestError> {
        let filter = UnsubscribeFilter::new(text(filter)?);
        let answer = self
            .ask(|reply| Request::Unsubscribe(vec![filter], reply))
            .await?;
        // 3.x gives no codes.
        let reason = answer.codes.first().copied().unwrap_or(ReasonCode::Success);
        checked(reason, answer.text).map(|_| ())
    }

    /// Ends the connection in good order: no will is published. What was not acknowledged yet is
    /// answered with an error.
    pub async fn disconnect(&self) {
        let (reply, answer) = oneshot::channel();
        // That it had ended already is what was asked for.
        if self.farewells.send(reply).await.is_ok() {
            answer.await.map(drop).unwrap_or_default();
        }
    }

    /// How the connection ended; `None` while it lasts.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.get()
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())?
    }

    fn ended(&self) -> RequestError {
        RequestError::Closed(self.closed.get().cloned().unwrap_or(Closed::WithoutWord))
    }
}

/// Connects and waits for the server's consent.
///
/// The connection is driven by a task of its own on the current tokio runtime.
pub async fn connect(options: ConnectOptions) -> Result<Connected, ConnectError> {
    let address = format!("{}:{}", options.host, options.port);
    match timeout(options.timeout, shake_hands(&options, &address)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(ConnectError::Timeout {
            address,
            seconds: options.timeout.as_secs(),
        }),
    }
}

async fn shake_hands(options: &ConnectOptions, address: &str) -> Result<Connected, ConnectError> {
    let connect = options.to_connect()?;
    let version = connect.version;
    let keep_alive = connect.keep_alive_seconds;
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect)), version, &mut bytes)?;
    let io = |source| ConnectError::Io {
        address: address.to_owned(),
        source,
    };
    let mut stream = TcpStream::connect((options.host.as_str(), options.port))
        .await
        .map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    stream.write_all(&bytes).await.map_err(io)?;

    let limits = DecodeLimits {
        packet_bytes_max: options.packet_bytes_max,
        ..DecodeLimits::default()
    };
    let mut decoder = Decoder::client(version, limits);
    bytes.clear();
    let acknowledgement = read_connack(&mut stream, &mut decoder, &mut bytes)
        .await
        .map_err(|closed| ConnectError::Protocol {
            address: address.to_owned(),
            closed,
        })?;
    if acknowledgement.reason.is_failure() {
        let text = acknowledgement
            .reason_string
            .map(|text| text.as_str().to_owned());
        return Err(ConnectError::Refused {
            reason: acknowledgement.reason,
            text,
        });
    }
    let keep_alive = acknowledgement
        .server_keep_alive_seconds
        .unwrap_or(keep_alive);
    let machine = Machine::new(granted(version, &acknowledgement));
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let (deliver, received) = mpsc::channel(options.messages_max);
    let closed = Arc::new(OnceLock::new());
    let (farewells, goodbyes) = mpsc::channel(1);
    let socket = (stream, decoder, bytes);
    let driver = Driver::new(socket, machine, keep_alive, (asked, goodbyes), deliver);
    tokio::spawn(driver.run(Arc::clone(&closed)));
    Ok(Connected {
        client: Client {
            requests,
            farewells,
            closed: Arc::clone(&closed),
        },
        messages: Messages { received, closed },
        acknowledgement,
    })
}

async fn read_connack(
    stream: &mut TcpStream,
    decoder: &mut Decoder,
    bytes: &mut BytesMut,
) -> Result<ConnAck, Closed> {
    loop {
        match decoder.decode(bytes)? {
            Some(Packet::ConnAck(acknowledgement)) => return Ok(*acknowledgement),
            Some(other) => {
                let text = format!("{} before CONNACK", other.packet_type());
                return Err(Closed::Protocol(text));
            }
            None => {}
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(Closed::WithoutWord);
        }
    }
}

fn granted(version: ProtocolVersion, acknowledgement: &ConnAck) -> Granted {
    Granted {
        version,
        receive_maximum: acknowledgement.receive_maximum.get(),
        packet_bytes_max: acknowledgement
            .packet_bytes_max
            .map_or(PACKET_BYTES_ANY, std::num::NonZeroU32::get),
    }
}

fn text(filter: &str) -> Result<MqttString, RequestError> {
    MqttString::try_from(filter)
        .map_err(|error| RequestError::Invalid(format!("filter {filter:?}: {error}")))
}

fn checked(reason: ReasonCode, text: Option<String>) -> Result<ReasonCode, RequestError> {
    if reason.is_failure() {
        return Err(RequestError::Refused { reason, text });
    }
    Ok(reason)
}
