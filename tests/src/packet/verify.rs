//! A slow check of a frame's lengths and checksums, straight from the RFCs: it sums whole packets, word by word. Of an error it
//! checks what is quoted as well, as far as the error's receiver can.

use super::{ICMP4, ICMP6, IPV4, IPV6, TCP};

/// Checks a frame of TCP or ICMP as its receiver would: lengths, the IPv4 header's checksum, that of what it carries.
///
/// # Errors
/// What is wrong with it.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let mut offset = 12;
    let ethertype = loop {
        match word(frame, offset)? {
            0x8100 | 0x88a8 => offset += 4,
            ethertype => break ethertype,
        }
    };
    let packet = frame.get(offset + 2..).ok_or("no packet")?;
    match ethertype {
        IPV4 => check_v4(packet),
        IPV6 => check_v6(packet),
        other => Err(format!("EtherType {other:#06x}")),
    }
}

fn check_v4(packet: &[u8]) -> Result<(), String> {
    let first = *packet.first().ok_or("no header")?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(word(packet, 2)?);
    if first >> 4 != 4 || header < 20 || total < header || packet.len() < total {
        return Err(format!("version {}, header {header}, total {total} of {}", first >> 4, packet.len()));
    }
    if sum(&packet[..header]) != 0xffff {
        return Err(format!("IPv4 header checksum {:#06x}", word(packet, 10)?));
    }
    let segment = &packet[header..total];
    if packet[9] == ICMP4 {
        return check_error(&[], segment, quoted_v4);
    }
    let mut pseudo = packet[12..20].to_vec();
    pseudo.extend([0, TCP]);
    pseudo.extend(u16::try_from(segment.len()).expect("total is 16 bits").to_be_bytes());
    check_tcp(pseudo, segment)
}

fn check_v6(packet: &[u8]) -> Result<(), String> {
    let payload = usize::from(word(packet, 4)?);
    if packet.len() < 40 + payload || packet[0] >> 4 != 6 {
        return Err(format!("version {}, payload {payload} of {}", packet[0] >> 4, packet.len()));
    }
    let (mut next, mut rest) = (packet[6], &packet[40..40 + payload]);
    while next != TCP && next != ICMP6 {
        let length = match next {
            44 => 8,
            0 | 43 | 60 => (usize::from(*rest.get(1).ok_or("cut extension")?) + 1) * 8,
            other => return Err(format!("next header {other}")),
        };
        next = rest[0];
        rest = rest.get(length..).ok_or("cut extension")?;
    }
    let mut pseudo = packet[8..40].to_vec();
    pseudo.extend(u32::try_from(rest.len()).expect("payload is 16 bits").to_be_bytes());
    pseudo.extend([0, 0, 0, next]);
    if next == ICMP6 {
        return check_error(&pseudo, rest, |_| Ok(()));
    }
    check_tcp(pseudo, rest)
}

fn check_tcp(pseudo: Vec<u8>, segment: &[u8]) -> Result<(), String> {
    let header = usize::from(*segment.get(12).ok_or("cut TCP header")? >> 4) * 4;
    if header < 20 || header > segment.len() {
        return Err(format!("TCP header {header} of {}", segment.len()));
    }
    if sum(&[pseudo, segment.to_vec()].concat()) != 0xffff {
        return Err(format!("TCP checksum {:#06x}", word(segment, 16)?));
    }
    Ok(())
}

/// Checks the message's checksum, and what it quotes.
fn check_error(
    pseudo: &[u8],
    message: &[u8],
    quoted: impl FnOnce(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    if sum(&[pseudo, message].concat()) != 0xffff {
        return Err(format!("ICMP checksum {:#06x}", word(message, 2)?));
    }
    quoted(message.get(8..).ok_or("cut message")?)
}

fn quoted_v4(packet: &[u8]) -> Result<(), String> {
    let header = usize::from(*packet.first().ok_or("nothing is quoted")? & 15) * 4;
    if sum(packet.get(..header).ok_or("cut header")?) != 0xffff {
        return Err(format!("checksum {:#06x} of the quoted IPv4 header", word(packet, 10)?));
    }
    Ok(())
}

/// One's-complement sum of 16-bit words (RFC 1071); of a message with its checksum it is all ones.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

fn word(bytes: &[u8], offset: usize) -> Result<u16, String> {
    let pair = bytes.get(offset..offset + 2).ok_or_else(|| format!("cut at {offset}"))?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}
