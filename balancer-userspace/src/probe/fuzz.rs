//! What brokers answer to probes.

use super::{amqp, drain, stomp};
use crate::fuzz::{Pieces, check_message, now};

/// The answer to an AMQP header.
pub(crate) fn amqp(data: &[u8]) {
    let pieces = now(amqp::read_answer(&mut Pieces::new(data))).expect("reading memory does not fail");
    let whole = now(amqp::read_answer(&mut Pieces::whole(data.get(1..).unwrap_or_default())));
    assert!(pieces.len() <= 11, "more than is looked at");
    let whole = whole.expect("reading memory does not fail");
    assert_eq!(amqp::is_amqp(&pieces), amqp::is_amqp(&whole), "{pieces:02x?} {whole:02x?}");
}

/// The answer to a STOMP CONNECT.
pub(crate) fn stomp(data: &[u8]) {
    let answer = now(stomp::read_frame(&mut Pieces::new(data))).expect("reading memory does not fail");
    assert!(answer.len() < 4096 + 512, "more than is looked at");
    if let Err(why) = stomp::judge(&answer) {
        check_message(&why);
    }
}

/// What an HTTP page says of a drain: a pointer up to the first line feed, then the body.
pub(crate) fn drain(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pointer, body) = text.split_once('\n').unwrap_or(("", &text));
    let pointer: String = pointer.chars().take(100).collect();
    if let Err(why) = drain::wish(body, &pointer, "x") {
        check_message(&why);
    }
}
