//! Requests to the kernel and its answers.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// How many times a list is asked for that changes while the kernel tells it: what was moved meanwhile may be missing, and a
/// list of a thousand interfaces takes the kernel about a millisecond.
const ATTEMPTS: usize = 20;

/// A socket, and the number of the last request.
#[derive(Debug)]
pub(super) struct Exchange {
    socket: Socket,
    sequence: u32,
}

impl Exchange {
    /// Opens a socket in the network namespace of this thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks, and asks again while the answer is one of several moments.
    pub(super) fn ask(
        &mut self,
        request: &RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..ATTEMPTS {
            let answer = self.ask_once(request.clone(), flags)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(io::Error::other(format!("they changed {ATTEMPTS} times in a row while the kernel listed them")))
    }

    fn ask_once(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        // Only a dump ends with a mark of its own; an acknowledgement or a single answer ends by itself.
        let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut answer = Answer::default();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if answer.take(&datagram, self.sequence)? || (!dump && !answer.messages.is_empty()) {
                return Ok(answer);
            }
        }
    }
}

/// What the kernel has said so far.
#[derive(Debug, Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    /// Whether what is listed has changed while it was.
    interrupted: bool,
}

impl Answer {
    /// Takes the messages out of one datagram. Returns whether the answer is complete.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> io::Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = message.header.length as usize;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if message.header.sequence_number != sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        None => Ok(true),
                        Some(_) => Err(error.to_io()),
                    };
                }
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DoneMessage;
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    const SEQUENCE: u32 = 7;

    fn bytes(payload: NetlinkPayload<RouteNetlinkMessage>, sequence: u32, flags: u16) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        (header.sequence_number, header.flags) = (sequence, flags);
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn link(sequence: u32, flags: u16) -> Vec<u8> {
        bytes(NetlinkPayload::from(RouteNetlinkMessage::NewLink(LinkMessage::default())), sequence, flags)
    }

    fn done(flags: u16) -> Vec<u8> {
        bytes(NetlinkPayload::Done(DoneMessage::default()), SEQUENCE, flags)
    }

    #[test]
    fn a_list_ends_with_its_mark_and_answers_of_before_are_passed_over() {
        let mut answer = Answer::default();
        let first = [link(SEQUENCE, 0), link(SEQUENCE - 1, NLM_F_DUMP_INTR)].concat();
        assert!(!answer.take(&first, SEQUENCE).unwrap());
        assert!(answer.take(&[link(SEQUENCE, 0), done(0)].concat(), SEQUENCE).unwrap());
        assert_eq!((answer.messages.len(), answer.interrupted), (2, false));
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_read_to_its_end_and_not_taken_for_complete() {
        let mut answer = Answer::default();
        assert!(!answer.take(&link(SEQUENCE, NLM_F_DUMP_INTR), SEQUENCE).unwrap());
        assert!(answer.take(&done(0), SEQUENCE).unwrap() && answer.interrupted);
        let mut answer = Answer::default();
        assert!(answer.take(&done(NLM_F_DUMP_INTR), SEQUENCE).unwrap() && answer.interrupted);
    }
}
