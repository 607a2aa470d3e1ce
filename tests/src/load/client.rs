//! One MQTT client, for as long as the program runs.

mod trouble;

use std::{collections::VecDeque, process, rc::Rc, time::Duration};

use rumqttc::mqttbytes::{
    Error as MqttError, QoS,
    v4::{
        Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_util::bytes::BytesMut;

use self::trouble::Trouble;
use super::{
    run::Office,
    way::{Stream, Way},
    wire::{Broken, Group, Line},
};
use crate::{
    clock,
    mqtt::{MAX_PACKET, NAME_TOPIC},
};

/// Messages on the way at most, as clients usually have it.
const MAX_IN_FLIGHT: usize = 20;
/// A broker that owes an answer for longer has left the flow dead.
const SILENCE: Duration = Duration::from_secs(20);
/// Time for the TCP handshake, and for CONNACK and SUBACK together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// A message that has not come back.
#[derive(Debug)]
struct Message {
    number: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    sent: u64,
    acked: bool,
}

/// What a client keeps over its flows.
#[derive(Debug)]
pub(super) struct Client {
    id: u32,
    group: Rc<Group>,
    office: Rc<Office>,
    next: u64,
    pending: VecDeque<Message>,
    flow: u32,
}

/// An established flow.
#[derive(Debug)]
struct Flow {
    stream: Stream,
    input: BytesMut,
    broker: Option<String>,
    heard: Instant,
    asked: Instant,
    owed: bool,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any packet but the expected ones is the broker's refusal"
)]
impl Client {
    pub(super) const fn new(id: u32, group: Rc<Group>, office: Rc<Office>) -> Self {
        Self { id, group, office, next: 0, pending: VecDeque::new(), flow: 0 }
    }

    /// Connects, publishes, and connects again when the flow breaks, until the office closes.
    pub(super) async fn run(mut self, way: Rc<Way>) {
        let mut backoff = MIN_BACKOFF;
        while !self.office.is_closing() {
            match self.connect(&way).await {
                Ok(mut flow) => {
                    backoff = MIN_BACKOFF;
                    self.office.totals(|t| (t.established += 1, t.connected += 1));
                    let end = self.talk(&mut flow).await;
                    self.office.totals(|t| t.connected -= 1);
                    match end {
                        Ok(()) => break,
                        Err(trouble) => self.broken(&flow, &trouble),
                    }
                    self.flow += 1;
                }
                Err(trouble) => {
                    self.office.totals(|t| t.failed += 1);
                    let cause = trouble.to_string();
                    self.office.say(&Line::Failed { at: self.office.now(), client: self.id, cause });
                }
            }
            // Each client waits a time of its own, or they would all come at once.
            sleep(backoff + backoff.mul_f64(self.spread())).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        let left = self.pending.len() as u64;
        self.office.totals(|t| (t.lost += left, t.pending -= left));
    }

    /// A number of its own in [0, 1).
    fn spread(&self) -> f64 {
        f64::from(self.id.wrapping_mul(0x9e37_79b9)) / (f64::from(u32::MAX) + 1.0)
    }

    /// A topic that it has to itself.
    fn topic(&self) -> String {
        format!("load/{}/{}", process::id(), self.id)
    }

    async fn connect(&self, way: &Way) -> Result<Flow, Trouble> {
        let start = Instant::now();
        let tcp = timeout(CONNECT_PATIENCE, way.connect()).await;
        let tcp = tcp.map_err(|_elapsed| Trouble::NoHandshake)??;
        let greeted = async {
            let stream = way.secure(tcp).await?;
            let now = Instant::now();
            let mut flow =
                Flow { stream, input: BytesMut::new(), broker: None, heard: now, asked: now, owed: false };
            self.greet(&mut flow).await?;
            Ok::<Flow, Trouble>(flow)
        };
        let flow = timeout(CONNECT_PATIENCE, greeted).await.map_err(|_elapsed| Trouble::NoConnAck)??;
        self.office.say(&Line::Established { client: self.id, took: start.elapsed().as_secs_f64() });
        Ok(flow)
    }

    /// CONNECT and SUBSCRIBE, under a name that no client of another program has, which would take the session over.
    /// The subscription holds before the first message is published.
    async fn greet(&self, flow: &mut Flow) -> Result<(), Trouble> {
        let mut connect = Connect::new(format!("load-{}-{}", process::id(), self.id));
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        flow.send(&[Packet::Connect(connect)]).await?;
        match flow.receive().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {}
            other => return Err(Trouble::Refused(format!("{other:?}"))),
        }
        let mut subscribe = Subscribe::new_many([
            SubscribeFilter::new(self.topic(), QoS::AtLeastOnce),
            SubscribeFilter::new(NAME_TOPIC.to_owned(), QoS::AtMostOnce),
        ]);
        subscribe.pkid = 1;
        flow.send(&[Packet::Subscribe(subscribe)]).await?;
        loop {
            match flow.receive().await? {
                Packet::SubAck(ack) if !ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                    return Ok(());
                }
                Packet::Publish(publish) if is_unasked(&publish) => {}
                // Retained messages may overtake the SUBACK.
                Packet::Publish(publish) if publish.topic == NAME_TOPIC => self.learn(flow, &publish),
                other => return Err(Trouble::Refused(format!("{other:?}"))),
            }
        }
    }

    /// Publishes and receives until the office closes and nothing is on the way, or the flow breaks.
    async fn talk(&mut self, flow: &mut Flow) -> Result<(), Trouble> {
        self.send_again(flow).await?;
        let every = Duration::from_millis(self.group.interval_ms);
        let mut due = interval_at(Instant::now() + every.mul_f64(self.spread()), every);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut watch = new_watch();
        loop {
            while let Some(packet) = flow.next_packet()? {
                self.take(flow, packet).await?;
            }
            if self.office.is_closing() && self.may_leave() {
                return flow.send(&[Packet::Disconnect]).await;
            }
            tokio::select! {
                read = flow.stream.read_buf(&mut flow.input) => flow.note_read(read?)?,
                _ = due.tick(), if !self.office.is_closing() => self.publish(flow).await?,
                _ = watch.tick() => self.look_after(flow).await?,
                () = self.office.closing(), if !self.office.is_closing() => {}
            }
        }
    }

    fn may_leave(&self) -> bool {
        self.pending.is_empty() || self.office.is_late()
    }

    async fn publish(&mut self, flow: &mut Flow) -> Result<(), Trouble> {
        if self.pending.len() >= MAX_IN_FLIGHT {
            self.office.totals(|t| t.held_back += 1);
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        // Noted before it is sent: what is half sent when the flow breaks is sent again.
        self.pending.push_back(Message { number, sent: clock::nanos(), acked: false });
        self.office.totals(|t| (t.sent += 1, t.pending += 1));
        flow.ask(&[self.packet(number, false)]).await
    }

    /// What was not acknowledged on the flow before is published again.
    async fn send_again(&self, flow: &mut Flow) -> Result<(), Trouble> {
        let packets: Vec<Packet> =
            self.pending.iter().map(|message| self.packet(message.number, true)).collect();
        if packets.is_empty() { Ok(()) } else { flow.ask(&packets).await }
    }

    fn packet(&self, number: u64, dup: bool) -> Packet {
        let mut payload = vec![0; self.group.payload.max(8)];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let mut publish = Publish::new(self.topic(), QoS::AtLeastOnce, payload);
        publish.dup = dup;
        publish.pkid = packet_id(number);
        Packet::Publish(publish)
    }

    async fn take(&mut self, flow: &mut Flow, packet: Packet) -> Result<(), Trouble> {
        match packet {
            Packet::PubAck(ack) => {
                if let Some(message) = self.pending.iter_mut().find(|m| packet_id(m.number) == ack.pkid)
                    && !message.acked
                {
                    message.acked = true;
                    self.office.totals(|t| t.acked += 1);
                }
                Ok(())
            }
            Packet::Publish(publish) if publish.topic == NAME_TOPIC => {
                self.learn(flow, &publish);
                Ok(())
            }
            Packet::Publish(publish) if is_unasked(&publish) => Ok(()),
            Packet::Publish(publish) => {
                self.came_back(&publish);
                // Some brokers grant QoS 1 and deliver at QoS 0, which is not acknowledged.
                if publish.qos == QoS::AtMostOnce {
                    return Ok(());
                }
                flow.send(&[Packet::PubAck(PubAck::new(publish.pkid))]).await
            }
            Packet::PingResp => Ok(()),
            other => Err(Trouble::Refused(format!("{other:?}"))),
        }
    }

    /// A broker delivers the messages of one topic in order, so an earlier one that is still pending is lost.
    fn came_back(&mut self, publish: &Publish) {
        let Some(number) = publish.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) else {
            return;
        };
        let Some(place) = self.pending.iter().position(|message| message.number == number) else {
            return self.office.totals(|t| t.repeated += 1);
        };
        let message = self.pending.drain(..=place).next_back().expect("the range holds `place`");
        let (lost, took) = (place as u64, clock::nanos().saturating_sub(message.sent) as f64 / 1e9);
        // The broker may deliver a message before it acknowledges it.
        let late_ack = u64::from(!message.acked);
        self.office.totals(|t| {
            t.acked += late_ack;
            t.received += 1;
            t.lost += lost;
            t.pending -= lost + 1;
            t.round_trips += took;
        });
        self.office.back(self.id, message.sent);
    }

    fn learn(&self, flow: &mut Flow, publish: &Publish) {
        let broker = String::from_utf8_lossy(&publish.payload).into_owned();
        if flow.broker.as_ref() != Some(&broker) {
            self.office.say(&Line::Connected {
                at: self.office.now(),
                client: self.id,
                group: self.group.name.clone(),
                broker: broker.clone(),
                flow: self.flow,
            });
            flow.broker = Some(broker);
        }
    }

    /// Once a second: keeps the flow alive, and gives it up when the broker owes an answer for too long.
    async fn look_after(&self, flow: &mut Flow) -> Result<(), Trouble> {
        if flow.owed && flow.asked.elapsed() > SILENCE {
            return Err(Trouble::Silent);
        }
        if !flow.owed && flow.heard.elapsed() > KEEP_ALIVE / 2 {
            return flow.ask(&[Packet::PingReq]).await;
        }
        Ok(())
    }

    fn broken(&mut self, flow: &Flow, trouble: &Trouble) {
        let before = self.pending.len();
        self.pending.retain(|message| !message.acked);
        let lost = (before - self.pending.len()) as u64;
        self.office.totals(|t| (t.broken += 1, t.pending -= lost));
        self.office.say(&Line::Broken(Broken {
            at: self.office.now(),
            client: self.id,
            broker: flow.broker.clone(),
            cause: trouble.to_string(),
            lost,
        }));
    }
}

impl Flow {
    async fn send(&mut self, packets: &[Packet]) -> Result<(), Trouble> {
        let mut output = BytesMut::new();
        for packet in packets {
            packet.write(&mut output, MAX_PACKET).map_err(Trouble::Garbled)?;
        }
        let written = async {
            self.stream.write_all(&output).await?;
            // TLS keeps what TCP does not take at once.
            self.stream.flush().await
        };
        match timeout(SILENCE, written).await {
            Ok(written) => Ok(written?),
            Err(_elapsed) => Err(Trouble::Silent),
        }
    }

    /// Sends something that must be answered.
    async fn ask(&mut self, packets: &[Packet]) -> Result<(), Trouble> {
        if !self.owed {
            (self.owed, self.asked) = (true, Instant::now());
        }
        self.send(packets).await
    }

    async fn receive(&mut self) -> Result<Packet, Trouble> {
        loop {
            if let Some(packet) = self.next_packet()? {
                return Ok(packet);
            }
            let n = self.stream.read_buf(&mut self.input).await?;
            self.note_read(n)?;
        }
    }

    /// Anything that arrives proves that the flow lives.
    fn note_read(&mut self, n: usize) -> Result<(), Trouble> {
        if n == 0 {
            return Err(Trouble::Closed);
        }
        (self.heard, self.owed) = (Instant::now(), false);
        Ok(())
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Trouble> {
        match Packet::read(&mut self.input, MAX_PACKET) {
            Ok(packet) => Ok(Some(packet)),
            Err(MqttError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(Trouble::Garbled(error)),
        }
    }
}

/// aMQTT sends what it retains of `$SYS` to everybody who subscribes to anything.
fn is_unasked(publish: &Publish) -> bool {
    publish.topic.starts_with("$SYS/")
}

/// Unique among the messages on the way, and never 1, which SUBSCRIBE uses.
const fn packet_id(number: u64) -> u16 {
    (number % 60_000) as u16 + 2
}

fn new_watch() -> Interval {
    let mut watch = tokio::time::interval(Duration::from_secs(1));
    watch.set_missed_tick_behavior(MissedTickBehavior::Skip);
    watch
}
