//! Errors by which a router tells that a packet was too big for the way: ICMP "fragmentation needed" (RFC 1191), ICMPv6
//! "packet too big" (RFC 4443 section 3.2). They quote the packet that they are about.

use super::{
    Family, Frame, Ip, Link, Wanted,
    checksum::{self, Delta},
    family::Side,
};

/// Offset in the message of the packet that it quotes.
const QUOTE_AT: usize = 8;
/// Bytes of a TCP header that are sure to be quoted: ports and sequence number (RFC 792).
const QUOTED: usize = 8;

/// An address and port, network order.
type Endpoint<F> = (<F as Family>::Addr, [u8; 2]);

/// Reads the network header of a packet that carries ICMP. `None` when it is no such error, or is cut short.
#[inline(always)]
#[must_use]
pub fn parse<F: Family, P: Frame>(frame: &P, link: &Link) -> Option<Ip<F::Addr>> {
    let Ok(ip) = F::parse(frame, link.l3(), Wanted::PLAIN_ICMP) else { return None };
    let [kind, code] = *frame.view(usize::from(ip.l4))?;
    let is_whole = frame.len() >= usize::from(ip.l4) + usize::from(ip.len);
    (F::is_too_big(kind, code) && is_whole).then_some(ip)
}

/// The packet that an error quotes.
#[derive(Clone, Copy)]
pub struct Quote<F: Family> {
    /// Offset of its network header.
    l3: usize,
    /// Offset of its TCP header.
    l4: usize,
    /// Who sent it.
    pub source: Endpoint<F>,
    /// Who it was for.
    pub destination: Endpoint<F>,
}

/// What is exchanged in an error.
#[derive(Clone, Copy)]
pub struct Exchange<F: Family> {
    /// Who gets the error.
    pub to: F::Addr,
    /// What that does to the checksum of its header.
    pub delta: u16,
    /// Which end of the quoted packet is exchanged.
    pub side: Side,
    /// For what.
    pub end: Endpoint<F>,
    /// What that does to checksums.
    pub quoted: Delta,
    /// What is added to the quoted sequence number.
    pub shift: u32,
}

impl<F: Family> Quote<F> {
    /// Reads the packet that is quoted by the error with the network header `ip`. `None` when it is not of TCP, or too little of
    /// it is quoted.
    #[inline(always)]
    #[must_use]
    pub fn parse<P: Frame>(frame: &P, ip: &Ip<F::Addr>) -> Option<Self> {
        let l3 = usize::from(ip.l4) + QUOTE_AT;
        let Ok(quoted) = F::parse(frame, l3, Wanted::PLAIN_TCP) else { return None };
        let l4 = usize::from(quoted.l4);
        // What is behind the message is padding of the link.
        if l4 + QUOTED > usize::from(ip.l4) + usize::from(ip.len) {
            return None;
        }
        let [[s0, s1, d0, d1]] = frame.words(l4)?.map(u32::to_ne_bytes);
        Some(Self { l3, l4, source: (quoted.source, [s0, s1]), destination: (quoted.destination, [d0, d1]) })
    }

    /// Exchanges who gets the error and one end of the packet that it quotes, takes one hop off and mends the checksums, that of
    /// the quoted TCP header excepted: it need not be there, and nobody looks at it. `None`, with the packet in an unknown
    /// state, when the headers are not at these offsets.
    #[inline(always)]
    pub fn translate<P: Frame>(&self, frame: &mut P, l3: usize, exchange: &Exchange<F>) -> Option<()> {
        let Exchange { to, delta, side, end: (addr, [p0, p1]), quoted, shift } = *exchange;
        F::rewrite(frame, l3, Side::Destination, to, delta, 1)?;
        F::rewrite(frame, self.l3, side, addr, quoted.l3, 0)?;
        let [ports, seq] = frame.words(self.l4)?;
        let [s0, s1, d0, d1] = ports.to_ne_bytes();
        let exchanged = u32::from_ne_bytes(match side {
            Side::Source => [p0, p1, d0, d1],
            Side::Destination => [s0, s1, p0, p1],
        });
        let shifted = u32::from_be(seq).wrapping_add(shift).to_be();
        frame.put_words(self.l4, [exchanged, shifted])?;
        let message = self.l3 - QUOTE_AT;
        let [[kind, code, c0, c1]] = frame.words(message)?.map(u32::to_ne_bytes);
        let [outer, inner] = F::in_message(delta, quoted.l3);
        let deltas = [checksum::between(ports, exchanged), checksum::between(seq, shifted), outer, inner];
        let [c0, c1] = deltas.into_iter().fold([c0, c1], checksum::update);
        frame.put_words(message, [u32::from_ne_bytes([kind, code, c0, c1])])
    }
}
