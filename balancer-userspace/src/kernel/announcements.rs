//! What the kernel announces of interfaces, addresses, routes and neighbours.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

use super::Error;

const WHAT: &str = "announcements of changes";

/// Announcements from when it was made on.
pub(crate) struct Announcements(TokioSocket);

impl Announcements {
    /// Announcements of some multicast groups of `linux/rtnetlink.h`, in the network namespace of this thread. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a netlink socket.
    pub(crate) fn of(groups: &[u32]) -> Result<Self, Error> {
        let subscribe = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            groups.iter().try_for_each(|&group| socket.socket_mut().add_membership(group))?;
            Ok(socket)
        };
        subscribe().map(Self).map_err(|source| Error::Netlink { what: WHAT, source })
    }

    /// Announcements of interfaces alone.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub(crate) fn of_interfaces() -> Result<Self, Error> {
        Self::of(&[libc::RTNLGRP_LINK])
    }

    /// What is announced next; `None` when some of it was lost or cannot be read, so that anything may have changed.
    ///
    /// # Errors
    ///
    /// When the kernel no longer tells.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RouteNetlinkMessage>>, Error> {
        Ok(self.receive().await?.and_then(|datagram| messages(&datagram)))
    }

    /// Waits until anything is announced.
    ///
    /// # Errors
    ///
    /// As [`Self::next`].
    pub(crate) async fn any(&mut self) -> Result<(), Error> {
        self.receive().await.map(drop)
    }

    async fn receive(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.0.recv_from_full().await {
            Ok((datagram, _)) => Ok(Some(datagram)),
            // More was announced than the socket could hold.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(None),
            Err(source) => Err(Error::Netlink { what: WHAT, source }),
        }
    }
}

fn messages(datagram: &[u8]) -> Option<Vec<RouteNetlinkMessage>> {
    let mut rest = datagram;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let message = NetlinkMessage::deserialize(rest).ok()?;
        rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
        if let NetlinkPayload::InnerMessage(inner) = message.payload {
            all.push(inner);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    fn announcement(index: u32) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::NewLink(link));
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn indices(datagram: &[u8]) -> Option<Vec<u32>> {
        let index = |message| {
            let RouteNetlinkMessage::NewLink(link) = message else { panic!("{message:?}") };
            link.header.index
        };
        Some(messages(datagram)?.into_iter().map(index).collect())
    }

    #[test]
    fn every_message_of_a_datagram_is_read() {
        assert_eq!(indices(&[announcement(4), announcement(5)].concat()), Some(vec![4, 5]));
        assert_eq!(indices(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_is_no_message() {
        let whole = announcement(4);
        assert_eq!(indices(&whole[..whole.len() - 1]), None, "cut short");
        for length in [0_u32, 15, u32::MAX] {
            let bytes = [&whole[..], &length.to_ne_bytes(), &[0; 12]].concat();
            assert_eq!(indices(&bytes), None, "a length of {length}");
        }
    }
}
