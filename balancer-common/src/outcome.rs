//! Every way a packet can end.

/// What becomes of a packet, and why. The XDP action, the counter and the text are all derived from it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Cut short before it could be told whose it is.
    PassTruncated,
    /// More VLAN tags than are understood.
    PassVlanDepth,
    /// Neither IPv4 nor IPv6.
    PassNotIp,
    /// A header contradicts itself.
    PassMalformed,
    /// A fragment.
    PassFragment,
    /// Too many IPv6 extension headers.
    PassExtensionDepth,
    /// Not TCP, nor an error about the path MTU of a flow of ours.
    PassNotTcp,
    /// TCP, but neither to a service nor from a backend.
    PassNotOurs,
    /// From a backend's address and port, but of no steered flow: a probe, or a direct connection.
    PassDirect,
    /// Packet of an established flow, client to backend.
    ForwardRequest,
    /// Packet of an established flow, backend to client.
    ForwardReply,
    /// First SYN of a flow: a backend was chosen.
    ForwardSyn,
    /// SYN seen before, or on the tuple of a known flow: same backend.
    ForwardSynAgain,
    /// SYN steered by the ring alone, because the flow table is nearly full or SYNs are flooding.
    ForwardSynStateless,
    /// The client's first ACK proved the flow; it is in the flow table.
    ForwardPromoted,
    /// The flow is proven, but the flow table is full; it goes on without state.
    ForwardUntracked,
    /// Packet of a flow that is half open, in either direction.
    ForwardHalfOpen,
    /// Packet of an unknown flow, given to the ring's backend.
    ForwardAdopted,
    /// Reply of a flow that has no state.
    ForwardReplyStateless,
    /// Data of a client in a flow that was chosen to be closed: its backend gets a RST in its place.
    ForwardCut,
    /// Data of a backend in a flow that was chosen to be closed: its client gets a RST in its place.
    ForwardCutReply,
    /// The client's ACK carries a valid cookie: the backend that was chosen gets a SYN in its place.
    ForwardCookie,
    /// Packet of a client that has shown its cookie, whose backend has not answered: it gets the SYN again.
    ForwardCookieAgain,
    /// The backend of a shielded flow answered: its client gets the window and is asked for its next packet.
    ForwardPrompt,
    /// An error by which a router tells that a packet of an established flow's backend was too big for the way to the client:
    /// the backend gets it.
    ForwardTooBig,
    /// An error by which a router tells that a packet of an established flow's client was too big for the way to the backend:
    /// the client gets it.
    ForwardTooBigReply,
    /// SYN answered with a cookie, because SYNs are flooding: nothing is remembered, and no backend asked.
    AnswerCookie,
    /// Answered with a RST: no backend takes new flows.
    ResetNoBackend,
    /// Answered with a RST: a packet of a flow that is not known, so that the client reconnects at once.
    ResetUnknownFlow,
    /// Answered with a RST: a packet of an unknown flow that could have carried a cookie, and does not carry a valid one.
    ResetBadCookie,
    /// Answered with a RST: the flow's backend is no longer configured.
    ResetBackendGone,
    /// Answered with a RST: the service has as many connections as it may have.
    ResetServiceFull,
    /// Answered with a RST: no budget of new connections is left for the moment, and the service is configured to say
    /// so.
    ResetOverBudget,
    /// Answered with a RST: the flow's backend is down, and its service closes such flows.
    ResetBackendDown,
    /// Answered with a RST, in either direction: the flow was closed by us.
    ResetCut,
    /// A RST of an unknown flow: there is nobody to tell.
    DropStrayReset,
    /// A packet of an unknown flow, when as many as may be have been answered with a RST in this second.
    DropUnknownFlow,
    /// On the tuple of a shielded flow that is not established, with numbers that are not the flow's; or of a shielded flow
    /// whose numbers are lost.
    DropUnproven,
    /// From the address and port of a known flow's backend, but not by the interface that the backend is reached by. Its
    /// backend sends it again, when that is known; anybody else's is none of the flow.
    DropOtherSide,
    /// A SYN that finds no budget of new connections left for the moment: the client's TCP sends it again later.
    DropOverBudget,
    /// No hop left.
    DropHopLimit,
    /// The frame could not be grown or rewritten.
    DropRewrite,
    /// A map that the agent fills has no entry for the service.
    DropUnconfigured,
}

/// The kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not ours: handed to the host untouched.
    Pass,
    /// Sent to a backend or a client.
    Forward,
    /// Answered in a backend's place.
    Answer,
    /// Answered with a RST.
    Reset,
    /// Discarded.
    Drop,
}

impl Outcome {
    /// Number of outcomes: the length of a row of counters.
    pub const COUNT: usize = Self::DropUnconfigured as usize + 1;

    /// All outcomes, in the order of their counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::PassTruncated,
        Self::PassVlanDepth,
        Self::PassNotIp,
        Self::PassMalformed,
        Self::PassFragment,
        Self::PassExtensionDepth,
        Self::PassNotTcp,
        Self::PassNotOurs,
        Self::PassDirect,
        Self::ForwardRequest,
        Self::ForwardReply,
        Self::ForwardSyn,
        Self::ForwardSynAgain,
        Self::ForwardSynStateless,
        Self::ForwardPromoted,
        Self::ForwardUntracked,
        Self::ForwardHalfOpen,
        Self::ForwardAdopted,
        Self::ForwardReplyStateless,
        Self::ForwardCut,
        Self::ForwardCutReply,
        Self::ForwardCookie,
        Self::ForwardCookieAgain,
        Self::ForwardPrompt,
        Self::ForwardTooBig,
        Self::ForwardTooBigReply,
        Self::AnswerCookie,
        Self::ResetNoBackend,
        Self::ResetUnknownFlow,
        Self::ResetBadCookie,
        Self::ResetBackendGone,
        Self::ResetServiceFull,
        Self::ResetOverBudget,
        Self::ResetBackendDown,
        Self::ResetCut,
        Self::DropStrayReset,
        Self::DropUnknownFlow,
        Self::DropUnproven,
        Self::DropOtherSide,
        Self::DropOverBudget,
        Self::DropHopLimit,
        Self::DropRewrite,
        Self::DropUnconfigured,
    ];

    /// The kind of outcome: the one place where an XDP action is decided.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::PassTruncated
            | Self::PassVlanDepth
            | Self::PassNotIp
            | Self::PassMalformed
            | Self::PassFragment
            | Self::PassExtensionDepth
            | Self::PassNotTcp
            | Self::PassNotOurs
            | Self::PassDirect => Class::Pass,
            Self::ForwardRequest
            | Self::ForwardReply
            | Self::ForwardSyn
            | Self::ForwardSynAgain
            | Self::ForwardSynStateless
            | Self::ForwardPromoted
            | Self::ForwardUntracked
            | Self::ForwardHalfOpen
            | Self::ForwardAdopted
            | Self::ForwardReplyStateless
            | Self::ForwardCut
            | Self::ForwardCutReply
            | Self::ForwardCookie
            | Self::ForwardCookieAgain
            | Self::ForwardPrompt
            | Self::ForwardTooBig
            | Self::ForwardTooBigReply => Class::Forward,
            Self::AnswerCookie => Class::Answer,
            Self::ResetNoBackend
            | Self::ResetUnknownFlow
            | Self::ResetBadCookie
            | Self::ResetBackendGone
            | Self::ResetServiceFull
            | Self::ResetOverBudget
            | Self::ResetBackendDown
            | Self::ResetCut => Class::Reset,
            Self::DropStrayReset
            | Self::DropUnknownFlow
            | Self::DropUnproven
            | Self::DropOtherSide
            | Self::DropOverBudget
            | Self::DropHopLimit
            | Self::DropRewrite
            | Self::DropUnconfigured => Class::Drop,
        }
    }

    /// The name used in metrics and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PassTruncated => "pass_truncated",
            Self::PassVlanDepth => "pass_vlan_depth",
            Self::PassNotIp => "pass_not_ip",
            Self::PassMalformed => "pass_malformed",
            Self::PassFragment => "pass_fragment",
            Self::PassExtensionDepth => "pass_extension_depth",
            Self::PassNotTcp => "pass_not_tcp",
            Self::PassNotOurs => "pass_not_ours",
            Self::PassDirect => "pass_direct",
            Self::ForwardRequest => "forward_request",
            Self::ForwardReply => "forward_reply",
            Self::ForwardSyn => "forward_syn",
            Self::ForwardSynAgain => "forward_syn_again",
            Self::ForwardSynStateless => "forward_syn_stateless",
            Self::ForwardPromoted => "forward_promoted",
            Self::ForwardUntracked => "forward_untracked",
            Self::ForwardHalfOpen => "forward_half_open",
            Self::ForwardAdopted => "forward_adopted",
            Self::ForwardReplyStateless => "forward_reply_stateless",
            Self::ForwardCut => "forward_cut",
            Self::ForwardCutReply => "forward_cut_reply",
            Self::ForwardCookie => "forward_cookie",
            Self::ForwardCookieAgain => "forward_cookie_again",
            Self::ForwardPrompt => "forward_prompt",
            Self::ForwardTooBig => "forward_too_big",
            Self::ForwardTooBigReply => "forward_too_big_reply",
            Self::AnswerCookie => "answer_cookie",
            Self::ResetNoBackend => "reset_no_backend",
            Self::ResetUnknownFlow => "reset_unknown_flow",
            Self::ResetBadCookie => "reset_bad_cookie",
            Self::ResetBackendGone => "reset_backend_gone",
            Self::ResetServiceFull => "reset_service_full",
            Self::ResetOverBudget => "reset_over_budget",
            Self::ResetBackendDown => "reset_backend_down",
            Self::ResetCut => "reset_cut",
            Self::DropStrayReset => "drop_stray_reset",
            Self::DropUnknownFlow => "drop_unknown_flow",
            Self::DropUnproven => "drop_unproven",
            Self::DropOtherSide => "drop_other_side",
            Self::DropOverBudget => "drop_over_budget",
            Self::DropHopLimit => "drop_hop_limit",
            Self::DropRewrite => "drop_rewrite",
            Self::DropUnconfigured => "drop_unconfigured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_counter_order_and_names_are_unique() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(index, outcome as usize);
            assert_eq!(Outcome::ALL.iter().filter(|o| o.as_str() == outcome.as_str()).count(), 1);
        }
    }

    #[test]
    fn names_begin_with_their_class() {
        for outcome in Outcome::ALL {
            let class = match outcome.class() {
                Class::Pass => "pass_",
                Class::Forward => "forward_",
                Class::Answer => "answer_",
                Class::Reset => "reset_",
                Class::Drop => "drop_",
            };
            assert!(outcome.as_str().starts_with(class), "{outcome:?}");
        }
    }
}
