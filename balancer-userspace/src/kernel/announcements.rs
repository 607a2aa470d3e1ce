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
    pub(crate) fn of_links() -> Result<Self, Error> {
        Self::of(&[libc::RTNLGRP_LINK])
    }

    /// What is announced next; `None` when some of it was lost or cannot be read, so that anything may have changed.
    ///
    /// # Errors
    ///
    /// When the kernel no longer tells.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RouteNetlinkMessage>>, Error> {
        match self.0.recv_from_full().await {
            Ok((datagram, _)) => Ok(messages(&datagram)),
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
